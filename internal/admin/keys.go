package admin

import (
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// urlKeys returns the keys of a URL, or patterns of keys for a pattern of URLs. Each
// key template makes at least one.
func urlKeys(s storeshare.OpenShare, text string) ([]string, error) {
	target, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, template := range s.Templates {
		found, err := templateKeys(resource.Template(template), *target)
		if err != nil {
			return nil, fmt.Errorf("%w: give the key of %s instead", err, text)
		}
		keys = append(keys, found...)
	}
	return keys, nil
}

// templateKeys does the same for one key template. An asterisk at the end of a
// pattern may stand for the index of a directory, which has the key of the
// directory. Two asterisks also stand for the directory itself, and for any query.
func templateKeys(template resource.Template, target url.URL) ([]string, error) {
	head, _, anything := strings.Cut(target.Path, resource.Anything)
	if anything {
		if template.HasPartsOfPath() {
			return nil, fmt.Errorf("the key %s contains only parts of the path, so %s could be anywhere in it", template, resource.Anything)
		}
		target.RawQuery = template.AnyQuery()
	}
	key, err := template.URLKey(&target)
	dir, last := path.Split(head)
	if err != nil || !anything && !resource.IsPattern(last) {
		return []string{key}, err
	}
	target.Path, target.RawPath = strings.TrimSuffix(dir, "/"), ""
	dirKey, err := template.URLKey(&target)
	if resource.PatternMatches(key, dirKey, true) {
		return []string{key}, err
	}
	return []string{key, dirKey}, err
}

// groupKeys returns the keys of groups of an origin. Each key template makes one for
// each group.
func groupKeys(s storeshare.OpenShare, g originGroups) ([]string, error) {
	origin, err := parseOrigin(g.Origin)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, template := range s.Templates {
		for _, name := range g.Names {
			keys = append(keys, resource.Template(template).GroupKeyAt(origin, name))
		}
	}
	return keys, nil
}

// parseOrigin parses a URL that contains nothing but an origin.
func parseOrigin(text string) (*url.URL, error) {
	target, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	target.Path = strings.TrimSuffix(target.Path, "/")
	switch {
	case *target != url.URL{Scheme: target.Scheme, Host: target.Host}:
		return nil, fmt.Errorf("%q must be an origin, such as %s://%s: groups have no path", text, target.Scheme, target.Host)
	case resource.IsPattern(target.Host):
		return nil, fmt.Errorf("%q must be one origin, without an asterisk", text)
	}
	return target, nil
}

// parseURL parses a URL, or a pattern of URLs, that clients could ask for.
func parseURL(text string) (*url.URL, error) {
	target, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case target.Scheme != "http" && target.Scheme != "https" || target.Hostname() == "":
		return nil, fmt.Errorf("%q must begin with http:// or https:// and a host", text)
	case strings.ContainsFunc(target.Host, func(c rune) bool { return c > '~' }):
		return nil, fmt.Errorf("%q must have its host in ASCII, as xn--…", text)
	}
	return target, nil
}
