// Package doctor looks at a backend as any client could, and says which options of the
// handler fit it. It also finds out whether a deployment lets exactly one of many competing
// writes through.
package doctor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxKept is how many bytes of content are kept of one answer. Of the rest, only the digest
// is.
const maxKept = 1 << 20

// client sends requests with the fields that the user gave.
type client struct {
	http   *http.Client
	fields http.Header
}

// newClient returns a client whose fields are written as in curl: "Name: value".
func newClient(fields []string, insecure bool, timeout time.Duration) (*client, error) {
	c := &client{fields: http.Header{}, http: &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableCompression: true, MaxIdleConnsPerHost: writers,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: insecure}, //nolint:gosec // only if the user says so
		},
	}}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("-H must be a field such as 'Authorization: Bearer …', and isn't: it has no colon or no name")
		}
		c.fields.Add(name, strings.TrimSpace(value))
	}
	return c, nil
}

// credentials are the fields that say who asks.
var credentials = []string{"Authorization", "Cookie", "X-Api-Key", "X-Auth-Token", "Proxy-Authorization"}

// anonymous returns the same client without credentials, or nil if it has none.
func (c *client) anonymous() *client {
	without := &client{http: c.http, fields: c.fields.Clone()}
	for _, name := range credentials {
		without.fields.Del(name)
	}
	if len(without.fields) == len(c.fields) {
		return nil
	}
	return without
}

// shown is an answer.
type shown struct {
	status  int
	header  http.Header
	content []byte // its first maxKept bytes
	digest  [sha256.Size]byte
	length  int64
}

// send sends a request with fields that are pairs of name and value.
func (c *client) send(ctx context.Context, method, target string, content []byte, fields ...string) (*shown, error) {
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	for name, lines := range c.fields {
		if name == "Host" {
			r.Host = lines[0]
			continue
		}
		r.Header[name] = slices.Clone(lines)
	}
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "preconditions-doctor")
	}
	r.Header.Set("Cache-Control", "no-cache")
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, withoutSecrets(err)
	}
	defer resp.Body.Close()
	a := &shown{status: resp.StatusCode, header: resp.Header}
	digest := sha256.New()
	kept := new(bytes.Buffer)
	if a.length, err = io.Copy(digest, io.TeeReader(resp.Body, &firstBytes{kept})); err != nil {
		return nil, withoutSecrets(err)
	}
	a.content, a.digest = kept.Bytes(), [sha256.Size]byte(digest.Sum(nil))
	return a, nil
}

// firstBytes keeps the first maxKept bytes.
type firstBytes struct{ *bytes.Buffer }

func (f *firstBytes) Write(p []byte) (int, error) {
	f.Buffer.Write(p[:min(len(p), maxKept-f.Len())])
	return len(p), nil
}

// withoutSecrets takes the user and password out of an error's URL.
func withoutSecrets(err error) error {
	if failed, ok := err.(*url.Error); ok { //nolint:errorlint // what http.Client returns
		if target, bad := url.Parse(failed.URL); bad == nil {
			failed.URL = target.Redacted()
		}
	}
	return err
}

func (a *shown) get(name string) string { return strings.TrimSpace(a.header.Get(name)) }

func (a *shown) ok() bool { return a.status == http.StatusOK }

// tag returns the answer's ETag, and whether it is strong.
func (a *shown) tag() (tag string, strong bool) {
	tag = a.get("ETag")
	return tag, strings.HasPrefix(tag, `"`) && strings.HasSuffix(tag, `"`) && len(tag) > 1
}

func (a *shown) isJSON() bool {
	mediaType, _, _ := strings.Cut(strings.ToLower(a.get("Content-Type")), ";")
	mediaType = strings.TrimSpace(mediaType)
	return mediaType == "application/json" || mediaType == "text/json" || strings.HasSuffix(mediaType, "+json")
}

// varies reports whether the answer says that it depends on a request field.
func (a *shown) varies(field string) bool {
	for _, line := range a.header.Values("Vary") {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, field) {
				return true
			}
		}
	}
	return false
}
