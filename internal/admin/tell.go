package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// addTellFlags adds the flags that tell needs.
func addTellFlags(cmd *cobra.Command) {
	cmd.Flags().Bool("json", false, "Print the answer of the admin API")
	addAddressFlags(cmd)
}

// tell asks the admin API, and prints what it says: the answer itself with --json, and what
// describe makes of it otherwise.
func tell[T any](flags caddycmd.Flags, path string, query url.Values, describe func(T) string) (int, error) {
	content, err := askAPI(flags, path, query)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if flags.Bool("json") {
		_, err = os.Stdout.Write(content)
		return caddy.ExitCodeSuccess, err
	}
	var answer T
	if err := json.Unmarshal(content, &answer); err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("reading the answer: %w", err)
	}
	_, err = io.WriteString(os.Stdout, describe(answer))
	return caddy.ExitCodeSuccess, err
}

// askAPI returns the answer of the admin API.
func askAPI(flags caddycmd.Flags, path string, query url.Values) ([]byte, error) {
	address, err := addressOf(flags)
	if err != nil {
		return nil, err
	}
	resp, err := caddycmd.AdminAPIRequest(address, http.MethodGet, path+"?"+query.Encode(), nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return content, nil
}

// momentFormats are how people write a time. Those without a zone mean the local one.
var momentFormats = []string{
	time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02",
}

// moment parses a time as people write it: a date, a date and time, "10:03" for today,
// "yesterday 10:03", or how long ago, such as 90m or 7d.
func moment(text string, now time.Time) (time.Time, error) {
	if ago, err := caddy.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	day, clock, dayNamed := strings.Cut(text, " ")
	switch {
	case !dayNamed && strings.Contains(text, ":") && !strings.Contains(text, "-"):
		text = now.Format(time.DateOnly) + " " + text
	case day == "today":
		text = strings.TrimSpace(now.Format(time.DateOnly) + " " + clock)
	case day == "yesterday":
		text = strings.TrimSpace(now.AddDate(0, 0, -1).Format(time.DateOnly) + " " + clock)
	}
	for _, format := range momentFormats {
		if at, err := time.ParseInLocation(format, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 10:03, yesterday 10:03, 2025-11-03 10:03, or how long ago, such as 90m or 7d", text)
}

// momentIn returns the time that a flag gives, or the zero value.
func momentIn(flags caddycmd.Flags, name string, now time.Time) (time.Time, error) {
	text := flags.String(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := moment(text, now)
	if err != nil {
		return at, fmt.Errorf("--%s: %w", name, err)
	}
	return at, nil
}

func clock(t time.Time) string { return t.Local().Format(time.DateTime) }
