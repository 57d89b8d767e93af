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
// seconds or "-", and the entity tag or nothing. Equal representations have the
// same text, so the scripts compare them as strings.
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

	if tag != "" {
		o.ETag.Valid = true
		tag, o.ETag.Weak = strings.CutPrefix(tag, "W/")
		if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
			return validator.Observed{}, errPacked
		}
		o.ETag.Opaque = tag[1 : len(tag)-1]
	}
	return o, nil
}
