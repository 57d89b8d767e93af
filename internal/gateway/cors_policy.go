package gateway

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// policy is what an answer says to scripts of other origins.
type policy struct {
	origin      string // that it allows: one, or *, or none
	credentials bool   // it allows credentials
	varies      bool   // it depends on the origin
	exposed     string // the fields that it exposes
	until       time.Time
}

// maxExposed is how many bytes of names of exposed fields are remembered.
const maxExposed = 512

func policyOf(header http.Header) policy {
	lines := header[allowOrigin]
	if len(lines) != 1 || !isOrigin(lines[0]) {
		return policy{}
	}
	p := policy{
		origin: lines[0], credentials: allowsCredentials(header),
		varies: proxyhooks.Varies(header, "Origin"), exposed: strings.Join(members(header[exposeHeaders]), ", "),
	}
	if len(p.exposed) > maxExposed {
		p.exposed = ""
	}
	return p
}

func allowsCredentials(header http.Header) bool {
	lines := header[allowCredentials]
	return len(lines) == 1 && lines[0] == "true"
}

// allows reports whether the policy allows the origin of a request.
func (p policy) allows(origin string) bool {
	return p.origin == "*" || p.origin != "" && p.origin == origin
}

// putOn puts the policy on an answer.
func (p policy) putOn(header http.Header) {
	header[allowOrigin] = []string{p.origin}
	if p.credentials {
		header[allowCredentials] = []string{"true"}
	}
	if p.varies || p.origin != "*" {
		proxyhooks.AddVary("origin", header)
	}
	addMembers(header, exposeHeaders, members([]string{p.exposed}))
}

// policies is what the backend last said, by the target, the origin and, except for
// preflights, the credentials of the request: what it tells one user says nothing about
// another. Clients can make it forget something, which costs one more preflight.
type policies struct {
	mu     sync.Mutex
	known  *lru.Cache[policyKey, policy] // nil until there is something
	asking map[policyKey]chan struct{}   // closed when there is an answer
}

type policyKey [sha256.Size]byte

const (
	maxPolicies = 1024
	// A backend's policy may change without a reload here.
	maxPolicyAge = 10 * time.Minute
	// An origin that gave no useful answer isn't asked again for a while.
	minAskInterval = 10 * time.Second
	// A refusal waits no longer for the answer to a preflight.
	maxAskTime = time.Second
	// maxAsking is how many preflights there are at once.
	maxAsking = 32
)

func (s *policies) get(key policyKey) (p policy, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		return p, false
	}
	p, ok = s.known.Get(key)
	return p, ok && time.Now().Before(p.until)
}

func (s *policies) put(key policyKey, p policy, age time.Duration) {
	p.until = time.Now().Add(age)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		var err error
		if s.known, err = lru.New[policyKey, policy](maxPolicies); err != nil {
			panic(err) // only a size below one is refused
		}
	}
	s.known.Add(key, p)
}

// once calls ask, unless somebody does that already for the same key. It then waits for
// that. If too many ask, it does nothing.
func (s *policies) once(key policyKey, ask func()) {
	s.mu.Lock()
	done, asked := s.asking[key]
	if !asked && len(s.asking) < maxAsking {
		if s.asking == nil {
			s.asking = make(map[policyKey]chan struct{})
		}
		s.asking[key] = make(chan struct{})
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			close(s.asking[key])
			delete(s.asking, key)
		}()
		ask()
		return
	}
	s.mu.Unlock()
	if asked {
		select {
		case <-done:
		case <-time.After(maxAskTime):
		}
	}
}
