package preconditions

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/directive"
	"github.com/caddy-preconditions/preconditions/internal/spelling"
)

// The values of the option errors.
const (
	errorsProblem  = "problem"
	errorsCaddy    = "caddy"
	errorsTemplate = "template"
	errorsS3       = "s3"
	errorsWebDAV   = "webdav"
)

// defaultStatusName is the name of the handler in Preconditions-Status.
const defaultStatusName = "caddy"

// errNoErrorsFile says what the value template lacks.
var errNoErrorsFile = errors.New("template takes a file, such as /etc/caddy/refusals.json")

// unmarshalAnswers takes the arguments of an option that is about what clients get.
func unmarshalAnswers(d *caddyfile.Dispenser, option string, h *Handler) error {
	switch option {
	case "disclose":
		h.Disclose = new(bool)
		return directive.SwitchArg(d, h.Disclose)
	case "status_field":
		return unmarshalStatusField(d, h)
	default:
		return unmarshalErrors(d, h)
	}
}

func unmarshalStatusField(d *caddyfile.Dispenser, h *Handler) error {
	h.StatusField = defaultStatusName
	args := d.RemainingArgs()
	switch {
	case len(args) > 1:
		return d.Err("takes a name, or nothing")
	case len(args) == 1 && args[0] == "":
		return d.Err("the name must not be empty")
	case len(args) == 1:
		h.StatusField = args[0]
	}
	return directive.Check(d, answer.CheckStatusName(h.StatusField))
}

func unmarshalErrors(d *caddyfile.Dispenser, h *Handler) error {
	args := d.RemainingArgs()
	if len(args) > 0 {
		h.Errors = args[0]
		if err := checkErrorsWord(h.Errors); err != nil {
			return d.WrapErr(err)
		}
	}
	if h.Errors != errorsTemplate {
		if len(args) != 1 {
			return d.Err("takes problem, s3, webdav, caddy, or template and a file")
		}
		return nil
	}
	switch len(args) {
	case 3:
		h.ErrorsType = args[2]
		if h.ErrorsType == "" {
			return d.Err("the media type must not be empty")
		}
		fallthrough
	case 2:
		h.ErrorsFile = args[1]
		return nil
	case 1:
		return d.WrapErr(errNoErrorsFile)
	default:
		return d.Err("template takes a file and, if its name doesn't tell, a media type")
	}
}

func checkErrorsWord(word string) error {
	return spelling.Check(word, errorsProblem, errorsS3, errorsWebDAV, errorsCaddy, errorsTemplate)
}

// checkErrors refuses an invalid value, and a file without a use. It doesn't read the file:
// a config may be made where the file isn't.
func checkErrors(h *Handler) error {
	if err := checkErrorsWord(h.Errors); err != nil {
		return err
	}
	switch {
	case h.Errors != errorsTemplate && h.ErrorsFile+h.ErrorsType != "":
		return fmt.Errorf("errors_file and errors_type are for the value template, not %s", h.Errors)
	case h.Errors != errorsTemplate:
		return nil
	case h.ErrorsFile == "":
		return fmt.Errorf("%w (in JSON, as errors_file)", errNoErrorsFile)
	}
	if h.ErrorsType == "" && strings.Contains(h.ErrorsFile, "{") {
		return nil // the name is known when the config is loaded
	}
	_, _, err := answer.TemplateType(h.ErrorsFile, h.ErrorsType)
	return err
}

// errorsTemplateOf reads the template of refusals, if there is one.
func errorsTemplateOf(h *Handler) (*answer.Template, error) {
	if h.Errors != errorsTemplate {
		return nil, nil //nolint:nilnil // no template is no error
	}
	file := caddy.NewReplacer().ReplaceKnown(h.ErrorsFile, "")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &optionError{"errors", fmt.Errorf("reading the template: %w", err)}
	}
	template, err := answer.ParseTemplate(file, string(text), h.ErrorsType)
	if err != nil {
		return nil, &optionError{"errors", err}
	}
	return template, nil
}
