package proxyhooks

// IsMethodOverride reports whether a request field asks a backend to treat the request as
// if it had a different method. CGI and its successors (FastCGI, WSGI, Rack) can't tell
// a hyphen from an underscore in the name of a field, and some not from other characters.
func IsMethodOverride(name string) bool {
	for _, override := range [...]string{"x-http-method-override", "x-method-override", "x-http-method"} {
		if isSpelling(name, override) {
			return true
		}
	}
	return false
}

// IsPathOverride reports whether a request field asks a backend to treat the request as if
// it had a different path. IIS URL Rewrite and ISAPI_Rewrite set such fields, and what was
// made to run behind them believes anybody: Symfony, Zend Framework and Yii, up to some
// version.
func IsPathOverride(name string) bool {
	return isSpelling(name, "x-original-url") || isSpelling(name, "x-rewrite-url")
}

// isSpelling reports whether name is folded, which is in lower case, but for case and the
// characters between words.
func isSpelling(name, folded string) bool {
	if len(name) != len(folded) {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		default:
			c = '-'
		}
		if c != folded[i] {
			return false
		}
	}
	return true
}
