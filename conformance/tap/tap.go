// Package tap writes the Test Anything Protocol, version 13.
//
// The OCI validation programs print their results through a package of this name and of this
// interface, which Debian does not carry. This one is written for them alone.
package tap

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// T counts the points of one program. New makes one.
type T struct {
	// Writer receives the report.
	Writer io.Writer

	points *int // shared with the Todo twin
	todo   bool
}

// New returns a T that writes to standard output.
func New() *T {
	return &T{Writer: os.Stdout, points: new(int)}
}

// Header writes the version line, and the plan if the number of points is known (not 0).
func (t *T) Header(points int) {
	t.line("TAP version 13")
	if points > 0 {
		t.line(fmt.Sprintf("1..%d", points))
	}
}

// AutoPlan writes the plan after the points, for a program that did not know their number before.
func (t *T) AutoPlan() {
	t.line(fmt.Sprintf("1..%d", *t.points))
}

// Ok writes one point.
func (t *T) Ok(passed bool, description string) {
	t.point(passed, description, "")
}

// Pass writes a point that holds.
func (t *T) Pass(description string) {
	t.point(true, description, "")
}

// Fail writes a point that does not hold.
func (t *T) Fail(description string) {
	t.point(false, description, "")
}

// Skip writes count points that could not be checked, and why.
func (t *T) Skip(count int, reason string) {
	for i := 0; i < count; i++ {
		t.point(true, "", "SKIP "+reason)
	}
}

// Todo returns a T whose failing points are expected to fail, and so do not count as failures.
func (t *T) Todo() *T {
	twin := *t
	twin.todo = true
	return &twin
}

// Diagnostic writes remarks that a reader of the protocol ignores.
func (t *T) Diagnostic(message string) {
	for _, line := range strings.Split(strings.TrimRight(message, "\n"), "\n") {
		t.line("# " + line)
	}
}

// Diagnosticf is Diagnostic with a format.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML attaches a value to the point before it. JSON is YAML too, and needs no package.
func (t *T) YAML(value interface{}) error {
	text, err := json.MarshalIndent(value, "  ", "  ")
	if err != nil {
		return err
	}
	t.line("  ---")
	t.line("  " + string(text))
	t.line("  ...")
	return nil
}

func (t *T) point(passed bool, description, directive string) {
	*t.points++
	word := "ok"
	if !passed {
		word = "not ok"
	}
	if directive == "" && t.todo {
		directive = "TODO"
	}
	text := fmt.Sprintf("%s %d", word, *t.points)
	if description != "" {
		// A number sign would start a directive, and a line end would end the point.
		text += " - " + strings.NewReplacer("#", `\#`, "\n", " ").Replace(description)
	}
	if directive != "" {
		text += " # " + strings.ReplaceAll(directive, "\n", " ")
	}
	t.line(text)
}

func (t *T) line(text string) {
	fmt.Fprintln(t.Writer, text)
}
