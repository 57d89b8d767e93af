package proxyhooks

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A preflight is an OPTIONS for the same target that has the given fields, no content, and
// leaves no trace on the request.
func TestPreflightRequest(t *testing.T) {
	r := newRequest("PUT", strings.NewReader("content"), "Cookie", "a=b", "Content-Type", "text/plain", "Transfer-Encoding", "chunked")
	r.TransferEncoding = []string{"chunked"}
	before, target := r.Header.Clone(), r.URL.String()
	fields := http.Header{"Origin": {"https://a"}}
	status, header := Preflight(r.Context(), handler(func(w http.ResponseWriter, pr *http.Request) {
		if pr.Method != "OPTIONS" || pr.Body != http.NoBody || pr.ContentLength != 0 || pr.TransferEncoding != nil || pr.URL.String() != target || pr.Host != r.Host {
			t.Errorf("%+v", pr)
		}
		if !reflect.DeepEqual(pr.Header, http.Header{"Origin": {"https://a"}}) {
			t.Errorf("header %v", pr.Header)
		}
		pr.URL.Path = "/changed"
		w.Header().Set("X-Answer", "x")
		w.WriteHeader(103)
		w.WriteHeader(204)
		w.Header().Set("X-Answer", "too late")
	}), r, fields)
	if status != 204 || header.Get("X-Answer") != "x" {
		t.Errorf("%d, %v", status, header)
	}
	if r.Method != "PUT" || r.URL.String() != target || !reflect.DeepEqual(r.Header, before) {
		t.Errorf("the request has changed: %+v", r)
	}
}

// Only an answer has a status, however it ends.
func TestPreflightAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request) error
		want   int
	}{
		"nothing":              {func(http.ResponseWriter, *http.Request) error { return nil }, 200},
		"content":              {func(w http.ResponseWriter, _ *http.Request) error { _, err := w.Write([]byte("x")); return err }, 200},
		"an error of Caddy's":  {func(http.ResponseWriter, *http.Request) error { return caddyhttp.Error(405, errors.New("no")) }, 405},
		"another error":        {func(http.ResponseWriter, *http.Request) error { return errors.New("no") }, 0},
		"a panic":              {func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }, 0},
		"a panic in its midst": {func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(204); panic(http.ErrAbortHandler) }, 204},
		"no end": {func(w http.ResponseWriter, r *http.Request) error {
			for {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					<-r.Context().Done() // a proxy hears of it
					return err
				}
			}
		}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest("PUT", nil)
			if got, _ := Preflight(r.Context(), caddyhttp.HandlerFunc(tt.answer), r, http.Header{}); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
