package docs_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// TestReadmeSavesTwice: the script in the README that saves twice does so, through the
// Caddyfile for JSON APIs, in front of one that adds to what it is sent.
func TestReadmeSavesTwice(t *testing.T) {
	caddytest.Needs(t, "node")
	var mu sync.Mutex
	note := map[string]any{"text": "old", "saved": 0}
	var heard []string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, r.Method)
		if r.Method == "PATCH" {
			sent, _ := io.ReadAll(r.Body)
			if json.Unmarshal(sent, &note) != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			note["saved"] = len(heard)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(note)
	}))
	defer api.Close()

	script := caddytest.Shown(t, "README.md", "const save =").Text
	site := caddytest.Shown(t, "docs/backends.md", "write_etag answer").Text
	address := caddytest.LocalAddress(t)
	caddytest.LoadWithAdmin(t, strings.NewReplacer("api.example.com", "http://"+address, "app:3000", api.Listener.Addr().String()).Replace(site))

	file := filepath.Join(t.TempDir(), "script.mjs")
	script = fmt.Sprintf("const url = %q;\n%sconsole.log(note.status, (await note.json()).text);\n", "http://"+address+"/notes/1", script)
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "node", file).CombinedOutput()
	if err != nil || string(out) != "200 two\n" {
		t.Errorf("the script said %q, %v", out, err)
	}
	// The client reads once; the handler asks before each write, and not after it.
	if got, want := strings.Join(heard, " "), "GET GET PATCH GET PATCH"; got != want {
		t.Errorf("the API heard %s, want %s", got, want)
	}
}
