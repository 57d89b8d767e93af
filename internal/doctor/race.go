package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// writers is how many clients take part in a race.
const writers = 32

// Race is the result of a race.
type Race struct {
	URLs    []string `json:"urls"`
	Writers int      `json:"writers"`
	// Won is how many writers were told that they had written.
	Won int `json:"won"`
	// Lost is how many updates were lost: all that were acknowledged but one.
	Lost     int            `json:"lost_updates"`
	Statuses map[string]int `json:"statuses"`
	// Restored says whether the resource has its content again. Kept is the file that has it if
	// it hasn't.
	Restored bool   `json:"restored"`
	Kept     string `json:"kept,omitempty"`
	OK       bool   `json:"ok"`
	Verdict  string `json:"verdict"`
}

// race lets all writers replace a resource at the same moment, on condition that it still has the
// tag that all of them have read, and puts back what was there. Several URLs are those of one
// resource at several nodes. What the writers send is made from template.
func race(ctx context.Context, c *client, urls []string, template string) (r Race, err error) {
	r = Race{Writers: writers, Statuses: make(map[string]int)}
	before, err := c.send(ctx, http.MethodGet, urls[0], nil, "Accept-Encoding", "identity")
	if err != nil {
		return r, err
	}
	tag, strong := before.tag()
	switch {
	case !before.ok():
		return r, fmt.Errorf("GET answers %d: name a resource that a GET shows with 200", before.status)
	case before.length > maxKept:
		return r, fmt.Errorf("the resource has %d bytes: name one of at most %d", before.length, maxKept)
	case tag == "":
		return r, errors.New("the answer to GET has no ETag, so no writer can have a condition: is the handler there?")
	case !strong && !strings.HasPrefix(tag, "W/"):
		return r, fmt.Errorf("the answer to GET has no valid ETag, but %s", tag)
	}
	contents, err := contentsFor(before, template)
	if err != nil {
		return r, err
	}
	kept, err := keep(before.content)
	if err != nil {
		return r, err
	}
	mediaType := before.get("Content-Type")
	for _, status := range c.compete(ctx, urls, tag, mediaType, contents) {
		if status/100 == 2 {
			r.Won++
		}
		text := strconv.Itoa(status)
		if status == 0 {
			text = "no answer"
		}
		r.Statuses[text]++
	}
	r.Lost = max(0, r.Won-1)
	r.judge()
	// The user may have interrupted this, and wants the content back all the more.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if r.Restored = c.restore(ending, urls[0], before, mediaType, contents); r.Restored {
		_ = os.Remove(kept)
	} else {
		r.Kept = kept
	}
	return r, nil
}

// judge says what the statuses mean.
func (r *Race) judge() {
	unanswered := r.Statuses["no answer"]
	switch {
	case r.Won > 1:
		r.Verdict = fmt.Sprintf("%d of %d writers with one tag won: %d updates were lost", r.Won, r.Writers, r.Lost)
		if r.Won == r.Writers {
			r.Verdict += ". If the site is in mode report, that is expected"
		}
	case r.Won == 0 && unanswered > 0:
		r.Verdict = fmt.Sprintf("nobody was told to have won, and %d writers got no answer", unanswered)
	case r.Won == 0:
		r.Verdict = "nobody won: see the statuses. If they are 400 or 422, the resource doesn't take what the writers sent: give --content"
	case unanswered > 0:
		r.Verdict = fmt.Sprintf("one writer won, and %d got no answer: nobody can tell", unanswered)
	default:
		r.OK = true
		r.Verdict = fmt.Sprintf("exactly one of %d writers won", r.Writers)
	}
}

// compete sends all writes at the same moment, and returns the statuses of the answers, or 0
// for none.
func (c *client) compete(ctx context.Context, urls []string, tag, mediaType string, contents [][]byte) []int {
	statuses := make([]int, len(contents))
	start := make(chan struct{})
	var ready, done sync.WaitGroup
	ready.Add(len(contents))
	for i, content := range contents {
		done.Go(func() {
			ready.Done()
			<-start
			fields := []string{"If-Match", tag}
			if mediaType != "" {
				fields = append(fields, "Content-Type", mediaType)
			}
			if a, err := c.send(ctx, http.MethodPut, urls[i%len(urls)], content, fields...); err == nil {
				statuses[i] = a.status
			}
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	return statuses
}

// contentsFor returns a different content for each writer.
func contentsFor(before *shown, template string) (contents [][]byte, err error) {
	var object map[string]json.RawMessage
	switch {
	case template != "" && !strings.Contains(template, "{n}"):
		return nil, errors.New("--content must have {n}, which stands for the number of the writer: equal contents have equal tags")
	case template != "":
	case before.isJSON() && json.Unmarshal(before.content, &object) == nil && object != nil:
	case before.isJSON():
		return nil, errors.New("the content is JSON, but no object: give --content, such as '[{n}]'")
	case strings.HasPrefix(before.get("Content-Type"), "text/") || before.get("Content-Type") == "":
		template = string(before.content) + "\nwriter {n} of preconditions doctor\n"
	default:
		return nil, fmt.Errorf("what could be written in place of %s isn't known: give --content with {n} in it", before.get("Content-Type"))
	}
	for n := range writers {
		if template != "" {
			contents = append(contents, []byte(strings.ReplaceAll(template, "{n}", strconv.Itoa(n+1))))
			continue
		}
		object["preconditions_doctor"] = json.RawMessage(strconv.Quote(fmt.Sprintf("writer %d", n+1)))
		content, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		contents = append(contents, content)
	}
	return contents, nil
}

// keep writes content to a file that only the user can read, in case it can't be put back.
func keep(content []byte) (name string, err error) {
	f, err := os.CreateTemp("", "preconditions-doctor-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	return f.Name(), errors.Join(err, f.Close())
}

// restoreTries is how often it is tried to put the content back: a write of the race that got
// no answer may still be under way.
const restoreTries = 10

// restore puts back what was there. It reports whether a GET shows that, or at least none of what
// the writers sent: a backend may add to what it gets.
func (c *client) restore(ctx context.Context, target string, before *shown, mediaType string, sent [][]byte) bool {
	for range restoreTries {
		now, err := c.send(ctx, http.MethodGet, target, nil, "Accept-Encoding", "identity")
		if err != nil {
			return false
		}
		if now.ok() && now.digest == before.digest {
			return true
		}
		var fields []string
		if tag, _ := now.tag(); tag != "" {
			fields = append(fields, "If-Match", tag)
		}
		if mediaType != "" {
			fields = append(fields, "Content-Type", mediaType)
		}
		a, err := c.send(ctx, http.MethodPut, target, before.content, fields...)
		if err != nil {
			return false
		}
		if a.status/100 == 2 {
			now, err = c.send(ctx, http.MethodGet, target, nil, "Accept-Encoding", "identity")
			written := func(content []byte) bool { return bytes.Equal(content, now.content) }
			if err == nil && now.ok() && !slices.ContainsFunc(sent, written) {
				return true
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return false
		}
	}
	return false
}
