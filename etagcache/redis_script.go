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
	readScript       = newQuickScript("read").always().mayBeFirst()
	peekScript       = newEntryScript("peek")
	observeScript    = newQuickScript("observe")
	claimScript      = newQuickScript("claim").always().mayBeFirst()
	passScript       = newQuickScript("pass").always().mayBeFirst()
	renewScript      = newEntryScript("renew").always()
	settleScript     = newQuickScript("settle")
	spendScript      = newQuickScript("spend")
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
func newEntryScript(name string) *script {
	return newScript("prelude", "identity", "spent", "entry", name)
}

// newQuickScript returns a script that works on an entry, and begins with a short cut for
// its usual course.
func newQuickScript(name string) *script {
	return &script{
		Script: redis.NewScript(beginning() + shortCut(name) + source("generation", "prelude", "identity", "spent", "entry", name)),
		name:   name,
	}
}

// shortCut returns what a script begins with. It returns from the script if it can do what
// that would do (lua/usual.lua).
func shortCut(name string) string {
	return "do\nlocal function short_cut()\n" + source("identity", "usual", name+"_usual") + "return usual()\nend\n" +
		"local reply = short_cut()\nif reply then\nreturn reply\nend\nend\n"
}

func newScript(files ...string) *script {
	return &script{Script: redis.NewScript(beginning() + source(append([]string{"generation"}, files...)...)), name: files[len(files)-1]}
}

// mostPacked is the length of the longest value in a small hash that Redis keeps in one
// piece of memory (hash-max-listpack-value, by default).
const mostPacked = 64

// beginning returns what all scripts begin with: constants, and the time. A short cut and what
// follows it go by the same time.
func beginning() string {
	return fmt.Sprintf("local format, max_variants, max_spent, reservation, most_packed = '%d', %d, %d, %d, %d\n",
		Format, MaxVariants, MaxSpent, reservation.Milliseconds(), mostPacked) + source("clock")
}

// source returns the text of files in the directory lua.
func source(files ...string) (text string) {
	for _, name := range files {
		text += file(name)
	}
	return text
}

func file(name string) string {
	lua, err := sources.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // the file is missing from the source tree
	}
	return string(lua)
}
