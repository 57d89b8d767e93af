package admin

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-preconditions/preconditions/internal/history"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

func refusalsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "refusals [<url> | --key <key>] [--at <time> | --since <time> [--until <time>]] [--limit <n>] [--log <file>] [--json] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Shows why requests were refused",
		Long: `
Shows the last refusals of a running Caddy, the newest first: what the client
sent, what was current, and why that was refused. A Caddy remembers the last 1000
until its process ends. In mode report, they are what would have been refused.

With --log, it reads the log that Caddy has written in JSON, and needs no running
Caddy. A - stands for standard input. Only the logger's INFO messages tell of
refusals, at most 100 of them in a second.

--at shows the minute that begins then. Times are local: 10:03, yesterday 10:03,
2025-11-03 10:03, or how long ago, such as 90m or 7d.`,
		Example: `  caddy preconditions refusals --at '10:03'
  caddy preconditions refusals https://example.com/docs/plan --since 2h
  caddy preconditions refusals --log /var/log/caddy/caddy.log --at 'yesterday 10:03'`,
		Args: cobra.MaximumNArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(runRefusals),
	}
	cmd.Flags().Bool("key", false, "The argument is the key of a resource, not a URL")
	cmd.Flags().String("at", "", "Only in the minute that begins then")
	cmd.Flags().String("since", "", "Only from then on")
	cmd.Flags().String("until", "", "Only before then")
	cmd.Flags().Int("limit", 0, "The greatest number of refusals (default: all that are known)")
	cmd.Flags().String("log", "", "Read this log instead of asking a running Caddy")
	addTellFlags(cmd)
	return cmd
}

// period returns the times that the flags at, since and until give.
func period(flags caddycmd.Flags, now time.Time) (q history.Query, err error) {
	at, err := momentIn(flags, "at", now)
	if err != nil {
		return q, err
	}
	if q.Since, err = momentIn(flags, "since", now); err != nil {
		return q, err
	}
	if q.Until, err = momentIn(flags, "until", now); err != nil {
		return q, err
	}
	if !at.IsZero() {
		if !q.Since.IsZero() || !q.Until.IsZero() {
			return q, errors.New("--at can't be combined with --since or --until")
		}
		q.Since, q.Until = at, at.Add(time.Minute)
	}
	if q.Limit = flags.Int("limit"); q.Limit < 0 {
		return q, errors.New("--limit must not be negative")
	}
	return q, nil
}

func runRefusals(flags caddycmd.Flags) (int, error) {
	q, err := period(flags, time.Now())
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	about := flags.Arg(0)
	if flags.Bool("key") && about == "" {
		return caddy.ExitCodeFailedStartup, errors.New("--key needs a key")
	}
	if about != "" && !flags.Bool("key") && !strings.Contains(about, "://") {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("%q must be a URL, or a key with --key", about)
	}
	if flags.String("log") != "" {
		return runRefusalsInLog(flags, q, about)
	}
	query := url.Values{}
	for name, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			query.Set(name, at.Format(time.RFC3339))
		}
	}
	if about != "" {
		query.Set("resource", about)
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	return tell(flags, refusalsPath, query, func(s shownRefusals) string { return s.describe(noneRemembered) })
}

// What is said if there is no refusal to show: by the running Caddy, and in a log.
const (
	noneRemembered = "none found. Those of other nodes and of processes that have ended are in their logs (--log)."
	noneLogged     = "none found. The log must be in JSON, with the INFO messages of http.handlers.preconditions."
)

// describe describes refusals for people, or says that there are none.
func (s shownRefusals) describe(none string) string {
	var p page
	for _, r := range s.Refusals {
		r.describe(&p)
	}
	if len(s.Refusals) == 0 {
		p.line(0, "refusals", none)
	}
	if s.Forgotten > 0 {
		p.line(0, "older", fmt.Sprintf("%d more are no longer remembered: see the log (--log)", s.Forgotten))
	}
	return p.String()
}

func (r shownRefusal) describe(p *page) {
	would := ""
	if r.Mode == "report" {
		would = "would be "
	}
	p.line(0, clock(r.Time), "")
	p.line(2, "request", r.Method+" "+r.Resource)
	p.line(2, "answer", fmt.Sprintf("%s%d (%s)", would, r.Status, r.Outcome))
	p.line(2, "why", r.Reason)
	if r.Condition != "" {
		p.line(2, "sent", r.Condition+": "+r.Provided)
	}
	if r.Current != "" {
		p.line(2, "current", r.Current)
	}
	if r.Waited > 0 {
		p.line(2, "waited", seconds(r.Waited))
	}
	if r.Prevented {
		p.line(2, "prevented", "a lost update")
	}
}

// runRefusalsInLog shows the refusals in a log.
func runRefusalsInLog(flags caddycmd.Flags, q history.Query, about string) (int, error) {
	var err error
	if about != "" {
		if q.Resource, err = loggedResource(about); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
	}
	log := os.Stdin
	if name := flags.String("log"); name != "-" {
		if log, err = os.Open(name); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		defer func() { _ = log.Close() }()
	}
	found, err := refusalsIn(log, q)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("reading the log: %w", err)
	}
	if flags.Bool("json") {
		return caddy.ExitCodeSuccess, json.NewEncoder(os.Stdout).Encode(found)
	}
	_, err = io.WriteString(os.Stdout, found.describe(noneLogged))
	return caddy.ExitCodeSuccess, err
}

// loggedResource is like resourceFilter, for a URL whose key is made by default, or a key.
// A log doesn't say what the option key was.
func loggedResource(text string) (func(key string) bool, error) {
	if !strings.Contains(text, "://") {
		return resourceFilter(text)
	}
	target, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	keys, err := templateKeys(resource.HostAndPath, *target)
	if err != nil {
		return nil, err
	}
	return matcherOf(keys), nil
}

// maxLogLine is the greatest length of a line in a log that is read.
const maxLogLine = 1 << 20

// mostInLog is how many refusals of a log are shown, unless --limit says something else.
const mostInLog = 1000

// refusalsIn returns the last refusals that a log tells of, the newest first.
func refusalsIn(log io.Reader, q history.Query) (found shownRefusals, err error) {
	found.Refusals = []shownRefusal{}
	most := cmp.Or(q.Limit, mostInLog)
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, maxLogLine)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte("refused")) {
			continue
		}
		if r, ok := loggedRefusal(lines.Bytes()); ok && q.Selects(&r) {
			found.Refusals = append(found.Refusals, showRefusal(r))
		}
		if n := len(found.Refusals) - most; n >= most {
			found.Refusals = slices.Delete(found.Refusals, 0, n)
		}
	}
	found.Refusals = found.Refusals[max(0, len(found.Refusals)-most):]
	slices.Reverse(found.Refusals)
	return found, lines.Err()
}

// loggedRefusal returns the refusal that a line of a log in JSON tells of, if it does.
func loggedRefusal(line []byte) (r telemetry.Refusal, ok bool) {
	var logged struct {
		Message string          `json:"msg"`
		At      json.RawMessage `json:"ts"`
		Waited  any             `json:"waited"`
	}
	if json.Unmarshal(line, &logged) != nil || logged.Message != "refused" && logged.Message != "would be refused" {
		return r, false
	}
	if json.Unmarshal(line, &r) != nil || r.Code == "" {
		return r, false
	}
	if r.Mode = "enforce"; logged.Message != "refused" {
		r.Mode = "report"
	}
	if waited, inSeconds := logged.Waited.(float64); inSeconds { // unless duration_format says something else
		r.Waited = time.Duration(waited * float64(time.Second))
	}
	r.Time, ok = loggedTime(logged.At)
	return r, ok
}

// loggedFormats are the formats of times in a log, besides seconds since 1970: what the option
// time_format of Caddy's log may say.
var loggedFormats = []string{time.RFC3339, "2006-01-02T15:04:05.000Z0700", "2006/01/02 15:04:05.000", "2006/01/02 15:04:05"}

func loggedTime(text json.RawMessage) (time.Time, bool) {
	var since1970 float64
	if json.Unmarshal(text, &since1970) == nil {
		return time.UnixMicro(int64(since1970 * 1e6)), true
	}
	var written string
	if json.Unmarshal(text, &written) != nil {
		return time.Time{}, false
	}
	for _, format := range loggedFormats {
		if at, err := time.ParseInLocation(format, written, time.Local); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

func watchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch [--json] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Shows refusals as they happen",
		Long: `
Shows each refusal of a running Caddy as it happens, until it is interrupted. With
--json, each is an object on a line of its own. It looks once in a second; if more
than 1000 requests are refused within that, some are left out.`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runWatch),
	}
	cmd.Flags().Bool("json", false, "Print each refusal as a line of JSON")
	addAddressFlags(cmd)
	return cmd
}

func runWatch(flags caddycmd.Flags) (int, error) {
	last := time.Now()
	for {
		content, err := askAPI(flags, refusalsPath, url.Values{"since": {last.Format(time.RFC3339Nano)}})
		if err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		var news shownRefusals
		if err := json.Unmarshal(content, &news); err != nil {
			return caddy.ExitCodeFailedStartup, fmt.Errorf("reading the answer: %w", err)
		}
		for i := range news.Refusals {
			r := news.Refusals[len(news.Refusals)-1-i]
			last = r.Time.Add(1)
			if flags.Bool("json") {
				err = json.NewEncoder(os.Stdout).Encode(r)
			} else {
				var p page
				r.describe(&p)
				_, err = io.WriteString(os.Stdout, p.String())
			}
			if err != nil {
				return caddy.ExitCodeFailedStartup, err
			}
		}
		time.Sleep(time.Second)
	}
}
