package etagcache

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// states holds the letter of each validator.State.
const states = "uap"

// pack returns o as text for Redis: its flags, the modification date in Unix
// seconds or "-", and the entity tag or nothing. Observations of the same state have
// the same text, so the scripts compare them as strings. The backend's own tag is
// stored beside it (see packTag).
//
//	po 1763769600 W/"33a64df5"
func pack(o validator.Observed) string {
	b := make([]byte, 0, 32+len(o.ETag.Opaque))
	b = append(b, states[o.State])
	if o.Own {
		b = append(b, 'o')
	}
	if o.WeakDate {
		b = append(b, 'w')
	}
	b = append(b, ' ')
	if o.LastModified.IsZero() {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, o.LastModified.Unix(), 10)
	}
	return string(o.ETag.AppendTo(append(b, ' ')))
}

// packTag returns a tag as text for Redis, which is empty if it isn't valid.
func packTag(tag validator.ETag) string {
	if !tag.Valid {
		return ""
	}
	return tag.String()
}

var errPacked = errors.New("not a packed representation")

// unpack is the inverse of pack.
func unpack(s string) (validator.Observed, error) {
	var o validator.Observed
	flags, s, _ := strings.Cut(s, " ")
	date, tag, ok := strings.Cut(s, " ")
	if !ok {
		return validator.Observed{}, errPacked
	}

	if flags == "" {
		return validator.Observed{}, errPacked
	}
	state := strings.IndexByte(states, flags[0])
	if state < 0 {
		return validator.Observed{}, errPacked
	}
	o.State = validator.State(state)
	flags, o.Own = strings.CutPrefix(flags[1:], "o")
	flags, o.WeakDate = strings.CutPrefix(flags, "w")
	if flags != "" {
		return validator.Observed{}, errPacked
	}

	if date != "-" {
		seconds, err := strconv.ParseInt(date, 10, 64)
		if err != nil {
			return validator.Observed{}, errPacked
		}
		o.LastModified = time.Unix(seconds, 0).UTC()
	}

	if o.ETag, ok = unpackTag(tag); !ok {
		return validator.Observed{}, errPacked
	}
	return o, nil
}

// unpackTag is the inverse of packTag. It reports false if the text isn't a tag.
func unpackTag(s string) (tag validator.ETag, ok bool) {
	if s == "" {
		return validator.ETag{}, true
	}
	s, tag.Weak = strings.CutPrefix(s, "W/")
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return validator.ETag{}, false
	}
	tag.Opaque, tag.Valid = s[1:len(s)-1], true
	return tag, true
}
