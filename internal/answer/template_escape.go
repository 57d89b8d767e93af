package answer

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"reflect"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
)

// escapers are the functions that templates call by themselves on each value.
var escapers = texttemplate.FuncMap{
	"_json":       jsonValue,
	"_jsonInText": jsonInText,
	"_xml":        xmlText,
	"_plain":      plainText,
}

// place is where a template stands in what it makes.
type place int

const (
	outside   place = iota // of a JSON string; all of a different language
	inText                 // in a JSON string
	afterMark              // in a JSON string, behind a backslash
)

// escapeTemplate makes every action of a template escape the value that it inserts, as
// the place asks for.
func escapeTemplate(tree *parse.Tree, lang language) error {
	e := &escaping{tree, lang}
	end, err := e.list(tree.Root, outside)
	if err == nil && end != outside {
		return fmt.Errorf("template: %s: a text lacks its closing quote", tree.Name)
	}
	return err
}

type escaping struct {
	tree *parse.Tree
	lang language
}

// list escapes the nodes of a list that begins at a place, and returns where it ends.
func (e *escaping) list(list *parse.ListNode, at place) (place, error) {
	if list == nil {
		return at, nil
	}
	for _, node := range list.Nodes {
		var err error
		if at, err = e.node(node, at); err != nil {
			return at, err
		}
	}
	return at, nil
}

func (e *escaping) node(node parse.Node, at place) (place, error) {
	switch n := node.(type) {
	case *parse.TextNode:
		return e.behind(n.Text, at), nil
	case *parse.ActionNode:
		if at == afterMark {
			return at, e.errorAt(n, "a value can't follow a backslash")
		}
		if len(n.Pipe.Decl) == 0 { // otherwise it sets a variable, and inserts nothing
			escaper := parse.NewIdentifier(e.escaper(at)).SetTree(e.tree).SetPos(n.Pos)
			n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Pos, Args: []parse.Node{escaper}})
		}
		return at, nil
	case *parse.IfNode:
		return e.branches(n, &n.BranchNode, at)
	case *parse.WithNode:
		return e.branches(n, &n.BranchNode, at)
	case *parse.CommentNode:
		return at, nil
	default:
		return at, e.errorAt(n, "only values, variables, if and with are possible here")
	}
}

// branches escapes both branches, which must end at the same place.
func (e *escaping) branches(node parse.Node, n *parse.BranchNode, at place) (place, error) {
	end, err := e.list(n.List, at)
	if err != nil {
		return end, err
	}
	other, err := e.list(n.ElseList, at)
	if err == nil && end != other {
		err = e.errorAt(node, "the branches must end alike: both within a text, or both outside of one")
	}
	return end, err
}

func (e *escaping) errorAt(node parse.Node, text string) error {
	where, what := e.tree.ErrorContext(node)
	return fmt.Errorf("template: %s: %s: %s", where, what, text)
}

// behind returns the place behind a text that begins at a place.
func (e *escaping) behind(text []byte, at place) place {
	if e.lang != inJSON {
		return at
	}
	for _, c := range text {
		switch {
		case at == afterMark:
			at = inText
		case c == '"' && at == outside:
			at = inText
		case c == '"':
			at = outside
		case c == '\\' && at == inText:
			at = afterMark
		}
	}
	return at
}

// escaper names the function that escapes a value at a place.
func (e *escaping) escaper(at place) string {
	switch {
	case e.lang == inXML:
		return "_xml"
	case e.lang == inPlain:
		return "_plain"
	case at == inText:
		return "_jsonInText"
	default:
		return "_json"
	}
}

// jsonValue returns a value in JSON. An empty text is null.
func jsonValue(v any) (string, error) {
	if r := reflect.ValueOf(v); !r.IsValid() || r.Kind() == reflect.String && r.Len() == 0 {
		return "null", nil
	}
	text, err := json.Marshal(v)
	return string(text), err
}

// jsonInText returns a value as a part of a JSON string.
func jsonInText(v any) (string, error) {
	text, err := json.Marshal(fmt.Sprint(v))
	return strings.TrimSuffix(strings.TrimPrefix(string(text), `"`), `"`), err
}

// xmlText returns a value as it is in an XML text or attribute.
func xmlText(v any) (string, error) {
	var text strings.Builder
	err := xml.EscapeText(&text, []byte(fmt.Sprint(v)))
	return text.String(), err
}

// plainText returns a value as it is.
func plainText(v any) string { return fmt.Sprint(v) }
