package knowledge

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/concurrently"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Config is what the configuration says about views.
type Config struct {
	Deriver  proxyhooks.Deriver
	Scheme   string            // what Deriver.Scheme returns
	Template resource.Template // of the keys of groups
	Terms    etagcache.Terms

	// Vary lists the request fields that the backend doesn't name in Vary although
	// its responses depend on them.
	Vary string
}

// Reader reads what is known about one subject, for one request.
type Reader struct {
	*Config
	Share   *storeshare.Share
	Request *resource.Request
	Subject resource.Subject

	// Course hears of what is read. It may be nil.
	Course *telemetry.Course

	own atomic.Pointer[ownKey]
}

// ownKey is the key of the representation that the request's own fields select, if
// responses vary by some fields.
type ownKey struct{ vary, key string }

// maxGroupReads is the number of groups that are read at once.
const maxGroupReads = 16

// Read reads the entry of the subject and the groups that it names. If that
// fails, the view says that nothing is known.
func (r *Reader) Read() (View, error) {
	begun := time.Now()
	entry, err := r.Share.Read(r.Request.Context(), r.Subject.Key, r.Terms)
	r.Course.StoreRead(r.Subject.Key, begun, err)
	if err != nil {
		return View{Reader: r, entry: new(entry)}, err
	}
	v, err := r.View(entry)
	if err == nil && v.outdated && !v.groups.unread() && !v.Busy() && len(entry.Variants) > 0 && r.Terms.Lag > 0 {
		return r.retire(v)
	}
	return v, err
}

// Recent returns a view of the entry that this node saw last. Only a claim can
// tell whether it is current. It reports false if there is no such entry.
func (r *Reader) Recent() (View, bool) {
	entry, ok := r.Share.Recent(r.Subject.Key)
	if !ok {
		return View{Reader: r}, false
	}
	v, err := r.View(entry)
	v.Remembered = true
	return v, err == nil
}

// Lately returns a view of the entry if this node has read it a moment ago (see
// [storeshare.Lately]). It reports false if more than the entry must be read, or if the tag
// comes from the store.
func (r *Reader) Lately() (View, bool) {
	if r.Subject.AncestorKeys != nil || r.Deriver.UsesVersion() {
		return View{}, false
	}
	entry, ok := storeshare.Lately(r.Share, r.Subject.Key)
	if _, groups := splitVary(entry.Vary); !ok || groups != "" {
		return View{}, false
	}
	return View{Reader: r, entry: new(entry), Remembered: true}, true
}

// View returns the view of an entry of the subject. It reads the groups that the
// entry names, all of them in one round trip. If that fails, nothing in the entry
// counts.
func (r *Reader) View(entry etagcache.Entry) (View, error) {
	v := View{Reader: r, entry: new(entry)}
	_, text := splitVary(entry.Vary)
	if text == "" && r.Subject.AncestorKeys == nil {
		return v, nil
	}
	stored := parseMemberships(text)
	current, err := r.epochs(r.names(stored))
	v.groups, v.outdated = current, err != nil || current.unread() || !maps.Equal(stored, current)
	return v, err
}

// retire drops what an entry says under earlier epochs of its groups, and makes
// these states spent: a write may have replaced them, and the origin may still show them.
// It does so under a claim, so that it can't drop what was stored since. If another
// write is in flight, that one will do it. It returns the view of the entry as it is
// then.
func (r *Reader) retire(v View) (View, error) {
	ctx := context.WithoutCancel(r.Request.Context())
	grant, _, err := r.Share.Claim(ctx, r.Subject.Key, v.Entry().Epoch, r.Terms)
	if err == nil {
		err = r.Share.Settle(ctx, grant, etagcache.Settlement{}, r.Terms)
	}
	if err != nil && !errors.Is(err, etagcache.ErrBusy) && !errors.Is(err, etagcache.ErrStale) {
		return v, err
	}
	entry, err := r.Share.Read(ctx, r.Subject.Key, r.Terms)
	if err != nil {
		return View{Reader: r, entry: new(entry)}, err
	}
	return r.View(entry)
}

// names returns the names of the epochs to read: the stored groups, and the
// subtrees that the subject is in now, whichever are stored.
func (r *Reader) names(stored memberships) []string {
	names := r.subtrees()
	for name := range stored {
		if !strings.HasPrefix(name, subtreeMark) {
			names = append(names, name)
		}
	}
	return names
}

// subtrees returns the names of the subtree epochs of the subject's ancestors.
func (r *Reader) subtrees() (names []string) {
	for i := range r.Subject.AncestorKeys {
		names = append(names, subtreeName(i))
	}
	return names
}

// epochs returns the current epochs of groups and subtrees. While one is being
// changed, its epoch is empty.
func (r *Reader) epochs(names []string) (memberships, error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Request.Context()))
	defer cancel(nil)
	var mu sync.Mutex
	epochs := make(memberships, len(names))
	concurrently.Do(maxGroupReads, names, func(name string) {
		group, err := r.Share.Read(ctx, r.epochKey(name), r.Terms.WithoutBrief())
		switch {
		case err != nil:
			cancel(err) // the others are worthless without this one
		case group.Busy > 0:
			group.Epoch = ""
		}
		mu.Lock()
		defer mu.Unlock()
		epochs[name] = group.Epoch
	})
	return epochs, context.Cause(ctx)
}

// epochKey returns the key of the entry whose epoch a name stands for.
func (r *Reader) epochKey(name string) string {
	if ancestor, ok := ancestorOf(name); ok {
		return resource.SubtreeKey(r.Subject.AncestorKeys[ancestor])
	}
	return r.Template.GroupKey(r.Request.Replacer, name)
}
