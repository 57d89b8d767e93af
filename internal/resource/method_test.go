package resource

import (
	"net/http"
	"testing"
)

// Only GET and HEAD select a representation, only the other safe methods have
// no preconditions, and whatever isn't known to be safe is a write.
func TestClassOf(t *testing.T) {
	tests := map[Class][]string{
		Read:  {"GET", "HEAD"},
		Other: {"OPTIONS", "TRACE", "CONNECT", "PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI"},
		Write: {
			"PUT", "PATCH", "POST", "DELETE",
			"MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "PROPPATCH", "ACL", "BIND", "UPDATEREDIRECTREF",
			"FROBNICATE", "", "get", "Head", "options", // methods are case-sensitive
		},
	}
	for want, methods := range tests {
		for _, method := range methods {
			if got := ClassOf(method); got != want {
				t.Errorf("%q is %d, want %d", method, got, want)
			}
		}
	}
}

func TestClassify(t *testing.T) {
	tests := []struct {
		name   string
		method string
		header http.Header
		class  Class
		stands string // the method that it stands for
	}{
		{"an override names the method", "POST", http.Header{"X-Http-Method-Override": {"DELETE"}}, Write, "DELETE"},
		{"each spelling of the field counts", "POST", http.Header{"X-Method-Override": {"PUT"}}, Write, "PUT"},
		{"each spelling of the field counts", "POST", http.Header{"X-Http-Method": {"MERGE"}}, Write, "MERGE"},
		{"case and space of an override don't matter", "POST", http.Header{"X-Http-Method-Override": {" patch\t"}}, Write, "PATCH"},
		{"an override makes a GET a write", "GET", http.Header{"X-Http-Method-Override": {"PUT"}}, Write, "PUT"},
		{"an override makes OPTIONS a write", "OPTIONS", http.Header{"X-Http-Method-Override": {"PUT"}}, Write, "PUT"},
		{"an override to a read leaves a write a write", "PUT", http.Header{"X-Http-Method-Override": {"GET"}}, Write, "PUT"},
		{"an override to a read is not believed", "POST", http.Header{"X-Http-Method-Override": {"GET"}}, Write, "POST"},
		{"any line of an override counts", "POST", http.Header{"X-Http-Method-Override": {"GET", "DELETE"}}, Write, "DELETE"},
		{"any field of an override counts", "POST", http.Header{"X-Http-Method-Override": {"HEAD"}, "X-Http-Method": {"DELETE"}}, Write, "DELETE"},
		{"an empty override is none", "GET", http.Header{"X-Http-Method-Override": {" "}}, Read, "GET"},
		{"an unknown override is a write", "GET", http.Header{"X-Method-Override": {"zap"}}, Write, "ZAP"},

		{"an upgrade has no response", "GET", http.Header{"Upgrade": {"websocket"}}, Other, "GET"},
		{"an upgrade excuses no write", "PUT", http.Header{"Upgrade": {"websocket"}}, Write, "PUT"},
		{"an upgrade excuses no override", "GET", http.Header{"Upgrade": {"websocket"}, "X-Http-Method": {"PUT"}}, Write, "PUT"},
		{"WebDAV reads pass untouched", "PROPFIND", nil, Other, "PROPFIND"},
		{"an unknown method is a write", "FROBNICATE", nil, Write, "FROBNICATE"},
	}
	for _, tt := range tests {
		c, stands := classify(&http.Request{Method: tt.method, Header: tt.header})
		if c != tt.class || stands != tt.stands {
			t.Errorf("%s: %s %v is %d %s, want %d %s", tt.name, tt.method, tt.header, c, stands, tt.class, tt.stands)
		}
	}
}
