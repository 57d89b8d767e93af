package etagcache

// ScriptName returns the name of the script with this hash.
func ScriptName(hash string) string {
	for _, s := range []*script{
		readScript, peekScript, observeScript, claimScript, passScript, renewScript, settleScript, spendScript, invalidateScript, waitScript,
		beginScript, invalidateAllScript,
	} {
		if s.Hash() == hash {
			return s.name
		}
	}
	panic("unknown script " + hash)
}

// Failed returns the error of a call that ran a script.
var Failed = failed
