package explore

import (
	"fmt"
	"slices"
)

// move is something that may happen next.
type move struct {
	name   string // unique among the moves that are possible at the same time
	actor  int    // who makes the move, or nobody
	node   int    // where the actor's request is served, or nobody
	object object // what it touches outside its node
	writes bool   // whether it may change that
	fault  bool   // faults share a budget
	do     func()
}

// nobody stands for a missing actor or node.
const nobody = -1

// object is what a move touches outside its node: the origin, or a store entry
// (named by its key).
type object string

const (
	nothing    object = ""
	theOrigin  object = "the origin"
	everything object = "everything"
)

// independent reports whether two moves lead to the same state in either order.
// Requests on one node share the state that the node keeps outside the store.
func independent(a, b move) bool {
	switch {
	case a.object == everything, b.object == everything, a.fault && b.fault:
		return false
	case a.actor == b.actor, a.node == b.node && a.node != nobody:
		return false
	default:
		return a.object != b.object || a.object == nothing || !a.writes && !b.writes
	}
}

// search enumerates schedules, depth first. It stores no states: every schedule
// runs from the start. If schedules differ only in the order of independent
// moves, it runs only one of them. It uses sleep sets (Godefroid, Partial-Order
// Methods for the Verification of Concurrent Systems, 1996, chapter 5), which
// still reach every reachable state.
type search struct {
	path      []branch
	depth     int
	unreduced bool
}

// branch is a state on the current schedule.
type branch struct {
	moves []move // the possible moves
	awake []int  // indexes of the moves to explore
	at    int    // index in awake of the move being explored
	sleep []move // moves that would show nothing new here
}

func (b *branch) taken() move { return b.moves[b.awake[b.at]] }

// choose returns the next move, or false if other schedules already cover
// everything that follows.
func (s *search) choose(moves []move) (move, bool) {
	if s.depth == len(s.path) {
		s.path = append(s.path, s.branch(moves))
	}
	b := &s.path[s.depth]
	if !slices.EqualFunc(b.moves, moves, func(a, b move) bool { return a.name == b.name }) {
		panic(fmt.Sprintf("the same schedule offers %v at step %d, and then %v", names(b.moves), s.depth, names(moves)))
	}
	s.depth++
	if len(b.awake) == 0 {
		return move{}, false
	}
	return moves[b.awake[b.at]], true
}

func (s *search) branch(moves []move) branch {
	b := branch{moves: moves}
	if s.depth > 0 && !s.unreduced {
		before := &s.path[s.depth-1]
		asleep := slices.Clone(before.sleep)
		for _, i := range before.awake[:before.at] {
			asleep = append(asleep, before.moves[i])
		}
		b.sleep = slices.DeleteFunc(asleep, func(m move) bool { return !independent(m, before.taken()) })
	}
	for i, m := range moves {
		if !slices.ContainsFunc(b.sleep, func(asleep move) bool { return asleep.name == m.name }) {
			b.awake = append(b.awake, i)
		}
	}
	return b
}

// next goes on to the next schedule, and reports whether there is one.
func (s *search) next() bool {
	s.depth = 0
	for len(s.path) > 0 {
		last := &s.path[len(s.path)-1]
		if last.at++; last.at < len(last.awake) {
			return true
		}
		s.path = s.path[:len(s.path)-1]
	}
	return false
}

// switches counts how often the current schedule changes from one actor to
// a different one. A schedule with fewer switches is easier to follow.
func (s *search) switches() (n int) {
	for i := 1; i < s.depth; i++ {
		if s.path[i].taken().actor != s.path[i-1].taken().actor {
			n++
		}
	}
	return n
}

func names(moves []move) []string {
	var n []string
	for _, m := range moves {
		n = append(n, m.name)
	}
	return n
}
