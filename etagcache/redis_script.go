package etagcache

import (
	"embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var sources embed.FS

var (
	// These run on an entry and the marker beside it.
	readScript       = newEntryScript("read").always().mayBeFirst()
	peekScript       = newEntryScript("peek")
	observeScript    = newEntryScript("observe")
	claimScript      = newEntryScript("claim").always().mayBeFirst()
	passScript       = newEntryScript("pass").always().mayBeFirst()
	renewScript      = newEntryScript("renew").always()
	settleScript     = newEntryScript("settle")
	spendScript      = newEntryScript("spend")
	invalidateScript = newEntryScript("invalidate")
	waitScript       = newEntryScript("wait")

	// These run on a marker alone.
	beginScript         = newScript("begin")
	invalidateAllScript = newScript("invalidate_all")
)

// script is one of the files in the directory lua, preceded by the files that it
// needs. If it runs twice with the same arguments, because a reply was lost, it has
// its effect only once and gives the same answer.
type script struct {
	*redis.Script
	name   string
	strict bool // always checks whether the server may have lost data
	first  bool // may be the first to reach a server, which is then asked whether it evicts
}

func (s *script) always() *script {
	s.strict = true
	return s
}

func (s *script) mayBeFirst() *script {
	s.first = true
	return s
}

// newEntryScript returns a script that works on an entry.
func newEntryScript(name string) *script { return newScript("prelude", "spent", "entry", name) }

func newScript(files ...string) *script {
	return &script{Script: redis.NewScript(source(files...)), name: files[len(files)-1]}
}

// source returns the text of files in the directory lua, after the constants and the
// file that all scripts begin with.
func source(files ...string) string {
	text := fmt.Sprintf("local format, max_variants, max_spent, reservation = '%d', %d, %d, %d\n",
		Format, MaxVariants, MaxSpent, reservation.Milliseconds())
	for _, file := range append([]string{"generation"}, files...) {
		lua, err := sources.ReadFile("lua/" + file + ".lua")
		if err != nil {
			panic(err) // the file is missing from the source tree
		}
		text += string(lua)
	}
	return text
}
