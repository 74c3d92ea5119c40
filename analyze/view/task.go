package view

import (
	"bytes"
	"encoding/json"
	"io"
)

// TaskObjects is the task command: each task's task_struct, or members of it.
type TaskObjects []TaskObject

// TaskObject is one task's.
type TaskObject struct {
	TaskHeader
	Object *Objects
}

// MarshalJSON is the header's members and "object", as struct gives it.
func (t TaskObject) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	if err := t.Object.StreamJSON(&b); err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		TaskHeader
		Object json.RawMessage `json:"object"`
	}{t.TaskHeader, b.Bytes()})
}

// Text writes each object under its task's header.
func (t TaskObjects) Text(w io.Writer, o Options) error {
	for i := range t {
		sep := ""
		if i > 0 {
			sep = "\n"
		}
		if _, err := io.WriteString(w, sep+t[i].line()); err != nil {
			return err
		}
		if err := t[i].Object.Text(w, o); err != nil {
			return err
		}
	}
	return nil
}

// TaskResults are a command's answers for several tasks (foreach).
type TaskResults []TaskResult

// TaskResult is the answer for one task.
type TaskResult struct {
	TaskHeader
	Result Result
}

// MarshalJSON is the header's members and "result", the command's own form.
func (t TaskResult) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	if err := WriteJSON(&b, t.Result); err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		TaskHeader
		Result json.RawMessage `json:"result"`
	}{t.TaskHeader, b.Bytes()})
}

// Text writes each answer under its task's header.
func (t TaskResults) Text(w io.Writer, o Options) error {
	for i := range t {
		sep := ""
		if i > 0 {
			sep = "\n"
		}
		if _, err := io.WriteString(w, sep+t[i].line()); err != nil {
			return err
		}
		if err := t[i].Result.Text(w, o); err != nil {
			return err
		}
	}
	return nil
}
