// Package view holds what commands answer: result types, their text with crash's columns, and their JSON. It prints
// nowhere: whoever asked (the prompt, a script, the capture kernel's triage) gives the writer.
package view

import (
	"bufio"
	"encoding/json"
	"io"
)

// Options of text output.
type Options struct {
	Hex   bool // integers in hexadecimal where a command leaves the choice (radix 16)
	Width int  // columns of the screen; 0 if unknown (not a terminal)
}

// Result of a command. Its JSON is what encoding/json makes of it, unless it is a Streamer. Exported fields and their
// json names are a contract: adding is free, renaming breaks.
type Result interface {
	Text(w io.Writer, o Options) error
}

// Streamer is a Result too large to hold: it writes its JSON itself, row by row.
type Streamer interface {
	StreamJSON(w io.Writer) error
}

// WriteJSON writes r's JSON and a newline.
func WriteJSON(w io.Writer, r Result) error {
	bw := bufio.NewWriter(w)
	if s, ok := r.(Streamer); ok {
		if err := s.StreamJSON(bw); err != nil {
			bw.Flush() // what was found before is worth having
			return err
		}
	} else {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := bw.Write(b); err != nil {
			return err
		}
	}
	if err := bw.WriteByte('\n'); err != nil {
		return err
	}
	return bw.Flush()
}

// Lines is a result that is text and nothing more; its JSON is an array of strings.
type Lines []string

// Text writes the lines.
func (l Lines) Text(w io.Writer, _ Options) error {
	for _, s := range l {
		if _, err := io.WriteString(w, s+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// arrayWriter writes a JSON array element by element.
type arrayWriter struct {
	w io.Writer
	n int
}

// element begins the next element, which the caller writes.
func (a *arrayWriter) element() error {
	sep := ",\n"
	if a.n == 0 {
		sep = "["
	}
	a.n++
	_, err := io.WriteString(a.w, sep)
	return err
}

// add writes x as the next element.
func (a *arrayWriter) add(x any) error {
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if err := a.element(); err != nil {
		return err
	}
	_, err = a.w.Write(b)
	return err
}

// end closes the array.
func (a *arrayWriter) end() error {
	text := "]"
	if a.n == 0 {
		text = "[]"
	}
	_, err := io.WriteString(a.w, text)
	return err
}
