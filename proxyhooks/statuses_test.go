package proxyhooks

import (
	"fmt"
	"strings"
	"testing"
)

// TestStatuses: a set of statuses has what it names, and whole classes.
func TestStatuses(t *testing.T) {
	s := Statuses{202, 404, 5}
	for status, want := range map[int]bool{200: false, 202: true, 404: true, 405: false, 500: true, 599: true, 600: false, 499: false} {
		if got := s.Contain(status); got != want {
			t.Errorf("%d: got %t", status, got)
		}
	}
	if Statuses(nil).Contain(503) || (Statuses{}).Contain(0) {
		t.Error("an empty set isn't empty")
	}
}

// TestCheckUnanswered: a status that says what became of a write can't leave it unanswered.
func TestCheckUnanswered(t *testing.T) {
	for _, s := range []Statuses{nil, {}, DefaultUnanswered(), {202, 207, 4, 5}, {400, 404, 412, 499, 599}} {
		if err := s.CheckUnanswered(); err != nil {
			t.Errorf("%d: %v", s, err)
		}
	}
	for _, test := range []struct {
		statuses Statuses
		want     string
	}{
		{Statuses{0}, "0 is neither a status"},
		{Statuses{-5}, "-5 is neither a status"},
		{Statuses{42}, "42 is neither a status"},
		{Statuses{6}, "6 is neither a status"},
		{Statuses{600}, "600 is neither a status"},
		{Statuses{5000}, "5000 is neither a status"},
		{Statuses{1}, "1xx isn't a final answer"},
		{Statuses{103}, "103 isn't a final answer"},
		{Statuses{2}, "2xx says that a write succeeded"},
		{Statuses{200}, "200 says that a write succeeded"},
		{Statuses{503, 204}, "204 says that a write succeeded"},
		{Statuses{3}, "3xx says that a write succeeded"},
		{Statuses{303}, "303 says that a write succeeded"},
		{Statuses{503, 503}, "503 is given twice"},
		{Statuses{5, 5}, "5xx is given twice"},
		{Statuses{503, 5}, "503 is given twice: 5xx includes it"},
		{Statuses{5, 503}, "503 is given twice: 5xx includes it"},
	} {
		if err := test.statuses.CheckUnanswered(); !strings.HasPrefix(fmt.Sprint(err), test.want) {
			t.Errorf("%d: %v", test.statuses, err)
		}
	}
}
