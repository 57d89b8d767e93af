package origin

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// replicaLag is how far the replicas of a test may be behind, with the lag that the
// handler expects.
type replicaLag struct{ real, expected time.Duration }

var (
	shortLags = []replicaLag{
		{20 * time.Millisecond, 30 * time.Millisecond},
		{300 * time.Millisecond, 400 * time.Millisecond},
	}
	longLag = []replicaLag{{3 * time.Second, 3500 * time.Millisecond}}
)

// replicaPlaces are backends with three replicas, one for each lag and each
// combination of options.
func replicaPlaces(lags []replicaLag, verify, writeETag []string) func() []place {
	return func() (places []place) {
		for _, lag := range lags {
			for _, v := range verify {
				for _, w := range writeETag {
					b := newReplicas(lag.real, 3)
					b.put("/doc", "start")
					places = append(places, place{
						name:    fmt.Sprintf("%v, verify %s, write_etag %s", lag.real, v, w),
						options: fmt.Sprintf("lease 3s\nlag %v\nverify %s\nwrite_etag %s", lag.expected, v, w),
						lag:     lag.expected,
						backend: b,
					})
				}
			}
		}
		return places
	}
}

var (
	eachVerify    = []string{"passing", "all", "never", "10s"}
	eachWriteETag = []string{"verbatim", "always", "off"}
)

// Of eight writers with one tag, exactly one gets a 2xx, however far the replicas are
// behind.
func TestReplicasOneWinner(t *testing.T) {
	atEveryPlace(t, replicaPlaces(shortLags, eachVerify, eachWriteETag), expectOneWinner)
}

func TestReplicasFarBehindOneWinner(t *testing.T) {
	atEveryPlace(t, replicaPlaces(longLag, []string{"passing", "never"}, []string{"verbatim"}), expectOneWinner)
}

func expectOneWinner(t *testing.T, p place) {
	tag := caddytest.Send(t, "GET", p.nodes.First()+"/doc", "").Expect(t, 200).Tag(t)
	if winners := contest(t, p.nodes, tag, false); winners != 1 {
		t.Errorf("%d writers were told that they succeeded", winners)
	}
	// The spent tag stays dead until the replicas no longer show it, and then it is false.
	caddytest.Eventually(t, "the replicas show the present", func() bool {
		if a := save(t, "PUT", p.nodes.Random()+"/doc", "late", tag, "start"); !refused(a) {
			t.Fatalf("a spent tag got %d", a.StatusCode)
		}
		politely()
		return !strings.HasPrefix(caddytest.Send(t, "GET", p.nodes.Random()+"/doc", "").Content, "start")
	})
	p.backend.expectNoneLost(t)
}

// A client that works alone, and reads before each write, is refused only within the
// lag after its last write, even if the replicas let it see the past.
func TestReplicasLoneClient(t *testing.T) {
	atEveryPlace(t, replicaPlaces(shortLags, eachVerify, eachWriteETag), func(t *testing.T, p place) {
		expectNoNeedlessRefusal(t, p, 3)
	})
}

func TestReplicasFarBehindLoneClient(t *testing.T) {
	atEveryPlace(t, replicaPlaces(longLag, []string{"passing", "never"}, []string{"verbatim"}), func(t *testing.T, p place) {
		expectNoNeedlessRefusal(t, p, 2)
	})
}

func expectNoNeedlessRefusal(t *testing.T, p place, writes int) {
	var settled time.Time // when the last write had certainly been settled
	for done := 0; done < writes; politely() {
		asked := time.Now()
		seen := caddytest.Send(t, "GET", p.nodes.Random()+"/doc", "").Expect(t, 200)
		a := save(t, "PUT", p.nodes.Random()+"/doc", fmt.Sprint(done), seen.Tag(t), seen.Content)
		switch {
		case a.StatusCode == 204:
			settled = time.Now()
			done++
		case !refused(a):
			t.Fatalf("got %d", a.StatusCode)
		case asked.After(settled.Add(p.lag + time.Millisecond)): // Redis counts in milliseconds
			t.Fatalf("refused with %s %v after the last write: %s", a.Status, asked.Sub(settled), a.Content)
		}
	}
	p.backend.expectNoneLost(t)
}

// Editors who read what some replica shows lose no update, and all of them get their
// changes through.
func TestReplicasLoseNothing(t *testing.T) {
	atEveryPlace(t, replicaPlaces(shortLags, []string{"passing", "never"}, []string{"verbatim", "off"}), func(t *testing.T, p place) {
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() { edit(t, p.nodes, fmt.Sprint("editor ", i), 3) })
		}
		blind, cancel := context.WithCancel(t.Context())
		var others sync.WaitGroup
		others.Go(func() { // other documents are nobody's business
			for i := 0; blind.Err() == nil; i++ {
				_, _ = caddytest.Try(blind, "PUT", p.nodes.Random()+"/other", fmt.Sprint(i))
				politely()
			}
		})
		all.Wait()
		cancel()
		others.Wait()
		p.backend.expectNoneLost(t)
	})
}
