// Package tap writes the Test Anything Protocol to standard output. It offers the part of
// github.com/mndrix/tap-go that the validation suite calls, because Debian has no package
// of that library. A diagnostic is JSON, which is YAML, too.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T numbers and prints the results of one test program.
type T struct {
	count *int
	todo  bool
}

// New returns a writer that has printed nothing yet.
func New() *T { return &T{count: new(int)} }

// Header prints the version of the protocol. If planned is above 0, Header also prints the
// plan.
func (t *T) Header(planned int) {
	fmt.Println("TAP version 13")
	if planned > 0 {
		fmt.Printf("1..%d\n", planned)
	}
}

// AutoPlan prints the plan after the results.
func (t *T) AutoPlan() { fmt.Printf("1..%d\n", *t.count) }

// Ok prints one result.
func (t *T) Ok(passed bool, description string) {
	*t.count++
	word, directive := "ok", ""
	if !passed {
		word = "not ok"
	}
	if t.todo {
		directive = " # TODO"
	}
	fmt.Printf("%s %d -%s %s\n", word, *t.count, directive, oneLine(description))
}

// Pass prints one success.
func (t *T) Pass(description string) { t.Ok(true, description) }

// Fail prints one failure.
func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip prints count results that were not tested.
func (t *T) Skip(count int, reason string) {
	for ; count > 0; count-- {
		*t.count++
		fmt.Printf("ok %d # SKIP %s\n", *t.count, oneLine(reason))
	}
}

// Todo returns a writer for results that may fail. The two share the numbers.
func (t *T) Todo() *T { return &T{count: t.count, todo: true} }

// Diagnostic prints a comment.
func (t *T) Diagnostic(text string) {
	fmt.Println("# " + strings.ReplaceAll(text, "\n", "\n# "))
}

// Diagnosticf formats and prints a comment.
func (t *T) Diagnosticf(format string, arguments ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, arguments...))
}

// YAML prints a value below the last result.
func (t *T) YAML(value interface{}) error {
	text, err := json.MarshalIndent(value, "  ", "  ")
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", text)
	}
	return err
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", " ") }
