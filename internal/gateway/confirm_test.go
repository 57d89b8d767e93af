package gateway

import (
	"net/http"
	"testing"

	"github.com/caddy-preconditions/preconditions/validator"
)

// negotiating is an origin that shows content and what the request accepts, and answers
// writes with a status.
func negotiating(content *string, status int) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet {
			w.WriteHeader(status)
			return nil
		}
		w.Header().Set("Vary", "Accept")
		_, err := w.Write([]byte(*content + " as " + r.Header.Get("Accept")))
		return err
	}
}

// What a probe before the write shows is stored as the representation that was asked for,
// if the write isn't performed. If it contradicts what was stored, nothing else is known
// afterwards.
func TestStoredAsWhatWasAskedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		changed bool
		status  int // of the backend's answer to the write
		want    int // of the answer
	}{
		"refused by the backend": {false, 400, 400},
		"changed elsewhere":      {true, 204, 412},
	} {
		s := newSite()
		s.Verify.Passing = true
		content := "one"
		s.origin = negotiating(&content, tt.status)
		get := func() *http.Request { return requestOf(t.Context(), "GET /m", "Accept: text/html") }
		read, err := s.serve(get())
		if err != nil {
			t.Fatal(err)
		}
		if tt.changed {
			content = "two"
		}
		w, err := s.serve(requestOf(t.Context(), "PUT /m", "Accept: */*", "If-Match: "+read.Header().Get("Etag")))
		if err != nil || w.Code != tt.want {
			t.Fatalf("%s: %v, status %d", name, err, w.Code)
		}
		x, _ := s.exchangeOf(get())
		view, err := x.reader.Read()
		if err != nil || len(view.Entry().Variants) != 1 {
			t.Fatalf("%s: %v, %+v", name, err, view.Entry())
		}
		stored := view.Stored().ETag.String()
		if again, _ := s.serve(get()); stored != again.Header().Get("Etag") {
			t.Errorf("%s: stored %q, the origin shows %q", name, stored, again.Header().Get("Etag"))
		}
	}
}

// A condition that holds for a representation, or that forbids that any exists, is
// decided. One that the origin leaves open for now may be decided later.
func TestConfirmation(t *testing.T) {
	s := newSite()
	x, _ := s.exchangeOf(requestOf(t.Context(), "PUT /m"))
	for name, tt := range map[string]struct {
		c               confirmation
		decides, passes bool
	}{
		"holds":                 {confirmation{res: validator.Result{Verdict: validator.True}}, true, false},
		"doesn't match":         {confirmation{res: validator.Result{Verdict: validator.False, Reason: validator.NoMatch}}, false, false},
		"exists":                {confirmation{res: validator.Result{Verdict: validator.False, Reason: validator.Exists}}, true, false},
		"can't be verified":     {confirmation{res: validator.Result{Verdict: validator.Unverifiable}}, false, false},
		"the origin lags":       {confirmation{undecided: new(refuseWith(x.responder.OriginLags()))}, false, true},
		"can't be asked":        {confirmation{undecided: new(refuseWith(x.responder.CannotTell("it is away")))}, false, true},
		"replaced":              {confirmation{undecided: new(refuseWith(x.responder.Replaced(validator.IfMatch)))}, false, false},
		"the origin's own word": {confirmation{undecided: &decision{kind: relay}}, false, false},
	} {
		if tt.c.decides() != tt.decides || tt.c.passes() != tt.passes {
			t.Errorf("%s: decides: %v, passes: %v", name, tt.c.decides(), tt.c.passes())
		}
	}
}
