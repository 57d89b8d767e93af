package gateway

import (
	"net/http"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A read asks the store for two things: under which epoch to store what the response shows,
// and what is known already. If this node has read the entry a moment ago, and the response
// shows just that, there is nothing to store. So nobody needs the epoch, and the store isn't
// asked.

// viewForRead returns what is known of the subject of a read.
func viewForRead(x *exchange) (knowledge.View, error) {
	if x.request.PathUnclear {
		return knowledge.View{Reader: x.reader}, nil
	}
	if goesByResponse(x) {
		if view, ok := x.reader.Lately(); ok {
			return view, nil
		}
	}
	return x.reader.Read()
}

// goesByResponse reports whether the response to a read decides all that the request asks for.
// What a HEAD leaves out comes from the store. So does the date of a representation, which
// changes with a write although the content may not.
func goesByResponse(x *exchange) bool {
	c := x.request.Conditions
	return x.r.Method == http.MethodGet && x.Responses == nil && x.Items == nil &&
		x.r.Header["Range"] == nil && x.request.OneTime == nil &&
		c.IfMatch == nil && c.IfUnmodifiedSince == nil && (c.IfModifiedSince == nil || c.IfNoneMatch != nil) && !c.If.HasTags()
}

// observeNow stores what a response showed if that differs from the remembered entry by which
// the read went so far, or if the store has refused it under the epoch of that entry. If no
// write has begun since the entry was read, the entry serves as if it had just been read: what
// it says of replaced states counts however long the response took. Otherwise nobody knows
// whether the response came before the write, so the origin is asked again.
func observeNow(rd *reading, o validator.Observed, header http.Header) bool {
	remembered := rd.view
	view, err := rd.reader.Read()
	if err == nil && view.Entry().Epoch == remembered.Entry().Epoch {
		rd.view.Remembered = false
		return rd.observe(o, header)
	}
	rd.view, rd.known = view, view.Stored()
	known := rd.known.SameValidators(o)
	if err == nil && !view.Busy() && !known {
		begun := time.Now()
		s, its, ok := get(rd.r.Context(), rd, rd.Buffer)
		known = ok && !s.Cached && !rd.Learned.tooOld(its, begun) && rd.observe(s.Observed, its)
	}
	rd.storable = false // what the response itself shows, or its content will
	return known
}
