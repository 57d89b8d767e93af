package caddytest

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// ObjectStore starts an object store that speaks S3 and drops the conditions of writes, and
// returns its address. It verifies signatures. See testdata/s3/server.
func ObjectStore(t testing.TB, flags ...string) (address string) {
	t.Helper()
	b := Backend{Name: "gofakes3", Start: func(t testing.TB, address, _ string) *exec.Cmd {
		return exec.Command(objectProgram(t, "server"), append([]string{"-address", address}, flags...)...)
	}}
	return b.Run(t)
}

// OtherObjectStore starts s3rver, a store of somebody else that drops conditions, too. Its
// one bucket is b.
func OtherObjectStore(t testing.TB) (address string) {
	t.Helper()
	b := Backend{
		Name:  "s3rver",
		needs: []string{"node", ours("node_modules/s3rver")},
		Start: func(_ testing.TB, address, dir string) *exec.Cmd {
			_, port, _ := strings.Cut(address, ":")
			return exec.Command("node", ours("s3rver.js"), port, dir)
		},
	}
	return b.Run(t)
}

var buildObjects = sync.OnceValues(func() ([]byte, error) {
	return exec.Command("go", "build", "-C", ours("../s3"), "-o", "bin/", "./...").CombinedOutput()
})

// objectProgram returns the path of a program in testdata/s3, which is a module of its own.
func objectProgram(t testing.TB, name string) string {
	t.Helper()
	if out, err := buildObjects(); err != nil {
		t.Fatalf("building what is in testdata/s3: %v: %s", err, out)
	}
	return filepath.Join(ours("../s3"), "bin", name)
}

// ObjectSDKs are the SDKs with which ObjectClients work.
var ObjectSDKs = []string{"aws-sdk-go-v2", "boto3"}

// ObjectClient is a client of an object store that works with an SDK. It signs what it sends.
type ObjectClient struct {
	t    testing.TB
	in   io.WriteCloser
	mu   sync.Mutex
	last int
	done map[int]chan ObjectResult
}

// ObjectOperation is what a client is to do. The names of operations and fields are those
// of testdata/s3/client.
type ObjectOperation struct {
	ID                                      int
	Op, Endpoint, Bucket, Key, Body, Source string
	IfMatch, IfNoneMatch, SourceIfMatch     string
	Keys                                    []string

	// Host is what the client calls the endpoint. Virtual means that it names the bucket in
	// front of that, and not in the path.
	Host    string
	Virtual bool
}

// ObjectResult is what became of an operation. Status is 200 if the SDK reports no error.
// Otherwise Status and Code are what the error says.
type ObjectResult struct {
	ID, Status             int
	Code, ETag, Body, Text string
}

// NewObjectClient starts a client that works with an SDK.
func NewObjectClient(t testing.TB, sdk string) *ObjectClient {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", ours("../s3/client.py")) //nolint:gosec // it is ours
	if sdk == "aws-sdk-go-v2" {
		cmd = exec.Command(objectProgram(t, "client"))
	} else if _, err := os.Stat("/usr/lib/python3/dist-packages/boto3"); err != nil {
		(&Backend{needs: []string{"/usr/lib/python3/dist-packages/boto3"}}).OrSkip(t)
	}
	c := &ObjectClient{t: t, done: make(map[int]chan ObjectResult)}
	log := new(bytes.Buffer)
	cmd.Stderr = log
	cmd.Env = append(os.Environ(), "AWS_EC2_METADATA_DISABLED=true")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.in = in
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.listen(out)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = in.Close()
		<-ended
		if t.Failed() && log.Len() > 0 {
			t.Logf("%s: %s", sdk, log)
		}
	})
	return c
}

// listen hands the results out, until there are no more.
func (c *ObjectClient) listen(out io.Reader) {
	for d := json.NewDecoder(out); ; {
		var r ObjectResult
		if d.Decode(&r) != nil {
			break
		}
		c.mu.Lock()
		c.done[r.ID] <- r
		delete(c.done, r.ID)
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, done := range c.done {
		close(done)
	}
}

// Go begins an operation.
func (c *ObjectClient) Go(o ObjectOperation) <-chan ObjectResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	o.ID = c.last
	line, err := json.Marshal(o)
	if err != nil {
		c.t.Error(err)
	}
	done := make(chan ObjectResult, 1)
	c.done[o.ID] = done
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		c.t.Error(err)
	}
	return done
}

// Do does an operation.
func (c *ObjectClient) Do(o ObjectOperation) ObjectResult { return <-c.Go(o) }

// Expect reports an error unless the result has the status and the code. It returns the
// result.
func (r ObjectResult) Expect(t testing.TB, status int, code string) ObjectResult {
	t.Helper()
	if r.Status != status || r.Code != code {
		t.Errorf("got %d %s, want %d %s: %s", r.Status, r.Code, status, code, r.Text)
	}
	return r
}

// ObjectCommand returns the path of the command line of AWS. It skips the test if there is
// none.
func ObjectCommand(t testing.TB) (path string) {
	t.Helper()
	(&Backend{needs: []string{"aws"}}).OrSkip(t)
	return programPath("aws")
}
