package etagcache

import (
	"embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var sources embed.FS

var (
	readScript       = newScript("prelude", "read").always()
	observeScript    = newScript("prelude", "observe")
	claimScript      = newScript("prelude", "claim").always()
	passScript       = newScript("prelude", "pass").always()
	renewScript      = newScript("prelude", "renew").always()
	settleScript     = newScript("prelude", "settle")
	invalidateScript = newScript("prelude", "invalidate")
	waitScript       = newScript("prelude", "wait")

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
}

func (s *script) always() *script {
	s.strict = true
	return s
}

func newScript(files ...string) *script {
	source := fmt.Sprintf("local max_variants, reservation = %d, %d\n", MaxVariants, reservation.Milliseconds())
	for _, file := range append([]string{"generation"}, files...) {
		text, err := sources.ReadFile("lua/" + file + ".lua")
		if err != nil {
			panic(err) // the file is missing from the source tree
		}
		source += string(text)
	}
	return &script{Script: redis.NewScript(source), name: files[len(files)-1]}
}
