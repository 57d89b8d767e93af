package s3

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// However a request is spelled, it changes no object if its condition is false, or if it has none
// and require asks for one. The store takes anybody's requests, ignores what it doesn't know, and
// prefers parameters of the query to fields.
func TestOddRequests(t *testing.T) {
	t.Parallel()
	store := "http://" + caddytest.OtherObjectStore(t)
	node := caddytest.OneNodeAt(t, caddytest.Guarded("profile s3\nrequire PUT POST DELETE", strings.TrimPrefix(store, "http://"))).First()
	const form = "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nodd\r\n--x--\r\n"
	list := `<Delete><Object><Key>k</Key></Object><Quiet>true</Quiet></Delete>`
	put := func(key, content string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, store+"/b/"+key, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("the store says %s", response.Status)
		}
	}
	get := func() string {
		t.Helper()
		response, err := http.Get(store + "/b/k") //nolint:noctx // the store is ours
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		content, _ := io.ReadAll(response.Body)
		return response.Status + " " + string(content)
	}
	put("other", "other")
	put("k", "kept")
	before := get()
	send := func(method, target, content string, fields ...string) {
		t.Helper()
		u, _ := url.Parse(node)
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		text := method + " " + target + " HTTP/1.1\r\nHost: " + u.Host + "\r\nConnection: close\r\n" + strings.Join(fields, "\r\n")
		if len(fields) > 0 {
			text += "\r\n"
		}
		if !strings.Contains(text, "Transfer-Encoding") {
			text += "Content-Length: " + strconv.Itoa(len(content)) + "\r\n"
		}
		if _, err := io.WriteString(c, text+"\r\n"+content); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(c)
		line, _, _ := strings.Cut(string(answer), "\r\n")
		if now := get(); now != before {
			t.Errorf("%s to %s %s %q: there was %q, and now %q", line, method, target, fields, before, now)
			put("k", "kept")
		}
	}
	targets := []string{
		"/b/k", "/b//k", "/b/x/../k", "/b/%6b", "/b/k/", "/b/k;x", "/b%2Fk", "/%62/k",
		"/b/k?x-id=PutObject", "/b/k?versionId=null", "/b/k?acl", "/b/k?%61cl", "/b/k?torrent", "/b/k?versioning", "/b/k?restore", "/b/k?unknown=1&acl",
		"/b/k?uploads", "/b/k?uploadId=u", "/b/k?uploadId=", "/b/k?partNumber=1&uploadId=u", "/b/k?partNumber=1", "/b/k?partNumber=1&uploadId=u&uploadId=v",
		"/b/k?delete", "/b?delete", "/b/?delete", "/b/k?x-amz-copy-source=/b/other", "/b/k?acl&x-amz-copy-source=/b/other",
		"/b/k?partNumber=1&uploadId=u&x-amz-copy-source=/b/other", "/b/k?X-Amz-Copy-Source=%2Fb%2Fother&x-amz-copy-source-if-match=x",
	}
	odd := func(target string, condition ...string) {
		content := "odd"
		if strings.Contains(target, "delete") {
			content = list
		}
		for _, method := range []string{"PUT", "DELETE", "POST"} {
			send(method, target, content, condition...)
		}
		send("PUT", target, "", append(condition, "x-amz-copy-source: /b/other")...)
		send("PUT", target, "", append(condition, "x-amz-copy-source: /b/other", "x-amz-copy-source-if-match: x")...)
		send("POST", target, content, append(condition, "X-HTTP-Method-Override: PUT")...)
	}
	for _, target := range targets {
		odd(target)
		odd(target, `If-Match: "stale"`)
	}
	for _, condition := range []string{"If-None-Match: *", "If-Match: stale", "If-Match: ", `If-Match: W/"stale"`, "If-Match: \"stale\"\r\nIf-Match: *"} {
		odd("/b/k", condition)
	}
	send("PUT", "/b/k", "3\r\nodd\r\n0\r\nIf-Match: *\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: If-Match")
	for _, kind := range []string{"multipart/form-data; boundary=x", "Multipart/Form-Data; boundary=x", "text/plain\r\nContent-Type: multipart/form-data; boundary=x"} {
		send("POST", "/b", form, "Content-Type: "+kind)
	}
	for _, o := range []string{"<ETag>stale</ETag>", "<ETag>\"stale\"</ETag>", "<ETag></ETag>", "<ETag>W/\"stale\"</ETag>", "<Size>1</Size>", "<LastModifiedTime>x</LastModifiedTime>", "<ETag>stale</ETag><VersionId>null</VersionId>"} {
		send("POST", "/b?delete", "<Delete><Object><Key>k</Key>"+o+"</Object></Delete>")
		send("POST", "/b?delete", "<Delete><Object>"+o+"<Key>k</Key></Object><Object><Key>new</Key></Object></Delete>")
	}
	for _, o := range []string{
		"<Delete/><Delete><Object><Key>k</Key></Object></Delete>", "<delete><object><key>k</key></object></delete>",
		"<Delete><Object><Key>k</Key><ETag>stale</ETag></Object></Delete><Delete><Object><Key>k</Key></Object></Delete>",
		`<x:Delete xmlns:x="y"><x:Object><x:Key>k</x:Key></x:Object></x:Delete>`, "<Delete><Object Key=\"k\"></Object></Delete>",
	} {
		send("POST", "/b?delete", o)
	}
}
