package storeshare

import (
	"net/netip"
	"slices"
)

// Client is whom a write comes from, as far as anybody can tell.
type Client struct {
	// Address is the client's address, or what counts as one. Clients without an address
	// count as one client.
	Address netip.Addr
	// Identity tells apart those who share an address. A client can invent as many as it
	// likes, and competes with nobody but its own address then.
	Identity uint64
}

// rota is a waiting room from which clients are called in rotation: first by their
// addresses, and then by their identities within an address. The writes of one client are
// called in the order in which they came. The zero value is empty.
type rota struct {
	addresses []*address // in the order of their turns
	waiting   int
}

// address is what one address contributes to a rota.
type address struct {
	of      Client
	lines   []*line // in the order of their turns
	waiting int
}

// line holds the writes of one client.
type line struct {
	of     Client
	places []*place
}

// place is the place of one write.
type place struct {
	of Client
	// call is called once, when the write is called, or with an error if it has to give
	// way. It must not block.
	call func(error)
}

// join adds a place. If there are then more than limit, one has to give way: the last of
// the client with the most places.
func (r *rota) join(p *place, limit int) {
	a := r.address(p.of)
	if a == nil {
		a = &address{of: p.of}
		r.addresses = append(r.addresses, a)
	}
	l := a.line(p.of)
	if l == nil {
		l = &line{of: p.of}
		a.lines = append(a.lines, l)
	}
	l.places = append(l.places, p)
	a.waiting++
	r.waiting++
	if r.waiting > limit {
		last := r.last(a, l)
		r.leave(last)
		last.call(ErrQueueFull)
	}
}

// last returns the last place of the client with the most places. If others have as many,
// it is the one that has just joined.
func (r *rota) last(joined *address, line *line) *place {
	most := joined
	for _, a := range r.addresses {
		if a.waiting > most.waiting {
			most, line = a, a.lines[0]
		}
	}
	for _, l := range most.lines {
		if len(l.places) > len(line.places) {
			line = l
		}
	}
	return line.places[len(line.places)-1]
}

// next removes the place whose turn it is, and returns it, or nil if nobody waits.
func (r *rota) next() *place {
	if r.waiting == 0 {
		return nil
	}
	a := r.addresses[0]
	l := a.lines[0]
	p := l.places[0]
	a.lines = append(a.lines[1:], l)
	r.addresses = append(r.addresses[1:], a)
	r.leave(p)
	return p
}

// leave removes a place. It reports false if the place isn't there any more.
func (r *rota) leave(p *place) bool {
	a := r.address(p.of)
	if a == nil {
		return false
	}
	l := a.line(p.of)
	if l == nil {
		return false
	}
	i := slices.Index(l.places, p)
	if i < 0 {
		return false
	}
	l.places = slices.Delete(l.places, i, i+1)
	a.waiting--
	r.waiting--
	if len(l.places) == 0 {
		a.lines = slices.DeleteFunc(a.lines, func(other *line) bool { return other == l })
	}
	if a.waiting == 0 {
		r.addresses = slices.DeleteFunc(r.addresses, func(other *address) bool { return other == a })
	}
	return true
}

// address returns what the address of a client contributes, or nil.
func (r *rota) address(of Client) *address {
	for _, a := range r.addresses {
		if a.of.Address == of.Address {
			return a
		}
	}
	return nil
}

// line returns the line of a client, or nil.
func (a *address) line(of Client) *line {
	for _, l := range a.lines {
		if l.of.Identity == of.Identity {
			return l
		}
	}
	return nil
}
