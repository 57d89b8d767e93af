package storeshare

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// clientOf makes a client of a word such as "a1": the letter stands for its address.
func clientOf(word string) Client {
	return Client{netip.AddrFrom4([4]byte{word[0]}), uint64(word[1])}
}

// crowd is a rota and what became of the places in it.
type crowd struct {
	rota
	called  []string
	gaveWay []string
}

// join adds places with these names: a client and what tells its places apart, such as "a1x".
func (c *crowd) join(limit int, names ...string) {
	for _, name := range names {
		c.rota.join(&place{of: clientOf(name), call: func(err error) {
			if err != nil {
				c.gaveWay = append(c.gaveWay, name)
			} else {
				c.called = append(c.called, name)
			}
		}}, limit)
	}
}

// call calls n places.
func (c *crowd) call(n int) {
	for range n {
		if p := c.next(); p != nil {
			p.call(nil)
		}
	}
}

// Clients are called in rotation, by address first.
func TestRotation(t *testing.T) {
	for name, tt := range map[string]struct{ join, want string }{
		"one client, in order":              {"a1w a1x a1y a1z", "a1w a1x a1y a1z"},
		"two addresses":                     {"a1w a1x a1y a1z b1x b1y", "a1w b1x a1x b1y a1y a1z"},
		"two clients at one address":        {"a1w a1x a1y a2x a2y", "a1w a2x a1x a2y a1y"},
		"an address with many clients":      {"a1x a2x a3x a4x b1x b1y", "a1x b1x a2x b1y a3x a4x"},
		"clients and addresses in rotation": {"a1x a1y a1z a2x b1x b2x b2y", "a1x b1x a2x b2x a1y b2y a1z"},
	} {
		t.Run(name, func(t *testing.T) {
			var c crowd
			c.join(100, strings.Fields(tt.join)...)
			c.call(100)
			if got := strings.Join(c.called, " "); got != tt.want {
				t.Errorf("called %s, want %s", got, tt.want)
			}
			if c.waiting != 0 || len(c.addresses) != 0 {
				t.Errorf("%d wait, %d addresses are left", c.waiting, len(c.addresses))
			}
		})
	}
	t.Run("a client that comes again is called after those who wait", func(t *testing.T) {
		var c crowd
		c.join(100, "a1x", "b1x", "c1x")
		c.call(1)
		c.join(100, "a1y", "d1x")
		c.call(100)
		if got := strings.Join(c.called, " "); got != "a1x b1x c1x a1y d1x" {
			t.Errorf("called %s", got)
		}
	})
}

// If there are too many, the last of the client with the most places gives way.
func TestGivesWay(t *testing.T) {
	for name, tt := range map[string]struct{ join, want string }{
		"the newcomer, if it has the most":               {"a1w a1x a1y a1z", "a1z"},
		"the one with the most, not the newcomer":        {"a1w a1x a1y b1x", "a1y"},
		"the newcomer, if others have as many":           {"a1x b1x c1x d1x", "d1x"},
		"the newcomer's address, if others have as many": {"a1x a1y b1x b2x", "b2x"},
		"the address counts first":                       {"a1x a2x a3x b1x", "a1x"},
		"then the client":                                {"a1x a2x a2y b1x", "a2y"},
	} {
		t.Run(name, func(t *testing.T) {
			var c crowd
			c.join(3, strings.Fields(tt.join)...)
			if got := strings.Join(c.gaveWay, " "); got != tt.want {
				t.Errorf("%s gave way, want %s", got, tt.want)
			}
			if c.waiting != 3 {
				t.Errorf("%d wait", c.waiting)
			}
		})
	}
}

// Whatever happens, each place is called or gives way at most once, nobody waits for more
// than one write of each other address than those of its own, and the counts stay right.
func TestRotaKeepsCount(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var r rota
		in := make(map[*place]bool)
		for range 300 {
			switch random.IntN(4) {
			case 0, 1:
				p := &place{of: clientOf(fmt.Sprintf("%c%c", 'a'+random.IntN(4), '0'+random.IntN(3)))}
				p.call = func(error) {
					if !in[p] {
						t.Fatalf("seed %d: called twice", seed)
					}
					delete(in, p)
				}
				in[p] = true
				r.join(p, 20)
			case 2:
				if p := r.next(); p != nil {
					p.call(nil)
				}
			default:
				for p := range in {
					if !r.leave(p) || r.leave(p) {
						t.Fatalf("seed %d: left never, or twice", seed)
					}
					delete(in, p)
					break
				}
			}
			sum := 0
			for _, a := range r.addresses {
				places := 0
				for _, l := range a.lines {
					places += len(l.places)
				}
				if places != a.waiting || places == 0 {
					t.Fatalf("seed %d: an address counts %d of %d places", seed, a.waiting, places)
				}
				sum += places
			}
			if sum != r.waiting || sum != len(in) || sum > 20 {
				t.Fatalf("seed %d: %d wait, %d in addresses, %d in truth", seed, r.waiting, sum, len(in))
			}
		}
	}
}

// The owner of a resource waits for one write of each stranger's address, however many
// writes there are of each, and also if the queue is full.
func TestOwnerInQueue(t *testing.T) {
	for _, writes := range []int{1, 50, 200, 1000} {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueues()
				write := func(ctx context.Context, client Client) error {
					release, _, err := q.Acquire(ctx, "k", client)
					if err == nil {
						time.Sleep(100 * time.Millisecond)
						release()
					}
					return err
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				for i := range writes {
					go func() {
						_ = write(ctx, Client{netip.AddrFrom4([4]byte{1, byte(i % 3)}), uint64(i)})
					}()
				}
				synctest.Wait()
				begun := time.Now()
				for range 3 {
					if err := write(t.Context(), Client{Address: netip.AddrFrom4([4]byte{2})}); err != nil {
						t.Fatal(err)
					}
				}
				// Each time the write that has its turn, one of each address, and its own.
				if took := time.Since(begun); took > 3*(1+3+1)*100*time.Millisecond {
					t.Errorf("took %s", took)
				}
				cancel()
				synctest.Wait()
				time.Sleep(time.Second)
				synctest.Wait()
				if len(q.byKey) != 0 {
					t.Error("a queue is left")
				}
			})
		})
	}
}
