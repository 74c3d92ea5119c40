package view

import (
	"bytes"
	"encoding/json"
	"io"
	"iter"
	"slices"
)

// TaskResults are answers for several tasks, each under its task (task, foreach).
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

// TaskObject is task: a task_struct and its thread_info, or the members of them that were asked for. Its JSON is that of Task, with "thread_info",
// the form of Info, if only members were asked for and thread_info has some of them.
type TaskObject struct {
	Task *Objects // nil if only members of thread_info were asked for
	Info *Objects // nil if only members of task_struct were asked for
	// Members are those that were asked for, in their order; empty for all.
	Members []string
}

// Text writes one behind the other, or member by member.
func (t *TaskObject) Text(w io.Writer, o Options) error {
	for _, m := range t.Members {
		for _, in := range []*Objects{t.Task, t.Info} {
			if in == nil || !slices.Contains(in.Members, m) {
				continue
			}
			one := *in
			one.Members = []string{m}
			if err := one.Text(w, o); err != nil {
				return err
			}
		}
	}
	if len(t.Members) > 0 {
		return nil
	}
	if t.Task != nil {
		if err := t.Task.Text(w, o); err != nil {
			return err
		}
	}
	if t.Info == nil {
		return nil
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	return t.Info.Text(w, o)
}

// StreamJSON writes an object.
func (t *TaskObject) StreamJSON(w io.Writer) error {
	if t.Task != nil && (t.Info == nil || len(t.Info.Members) == 0) {
		return t.Task.StreamJSON(w)
	}
	b := bytes.NewBufferString(`{"type":"struct task_struct","objects":[]}`)
	if t.Task != nil {
		b.Reset() // members alone: a few numbers
		if err := t.Task.StreamJSON(b); err != nil {
			return err
		}
	}
	if t.Info == nil {
		_, err := b.WriteTo(w)
		return err
	}
	b.Truncate(b.Len() - 1)
	b.WriteString(`,"thread_info":`)
	if _, err := b.WriteTo(w); err != nil {
		return err
	}
	if err := t.Info.StreamJSON(w); err != nil {
		return err
	}
	_, err := io.WriteString(w, "}")
	return err
}

// TaskSeries are the answers of several commands for one task after the other (foreach). Its JSON is an array of TaskAnswers.
type TaskSeries struct {
	Tasks iter.Seq2[TaskAnswers, error] // the error ends it
}

// TaskAnswers are what several commands say of one task; its JSON is the header's members and "answers", an array of objects with
// "command", "args" and "result", which is null if the command failed.
type TaskAnswers struct {
	TaskHeader
	Answers []TaskAnswer
}

// TaskAnswer is what one command says of one task.
type TaskAnswer struct {
	Command string
	Args    []string
	Result  Result // nil if it failed
}

// Text writes each command's answer as it would stand alone, with an empty line between.
func (s *TaskSeries) Text(w io.Writer, o Options) error {
	sep := ""
	for t, err := range s.Tasks {
		if err != nil {
			return err
		}
		for _, a := range t.Answers {
			if a.Result == nil {
				continue
			}
			if _, err := io.WriteString(w, sep); err != nil {
				return err
			}
			sep = "\n"
			if err := a.Result.Text(w, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// StreamJSON writes the array.
func (s *TaskSeries) StreamJSON(w io.Writer) error {
	out := arrayWriter{w: w}
	for t, err := range s.Tasks {
		if err != nil {
			return err
		}
		b, err := t.json()
		if err != nil {
			return err
		}
		if err := out.add(b); err != nil {
			return err
		}
	}
	return out.end()
}

func (t *TaskAnswers) json() (json.RawMessage, error) {
	type answer struct {
		Command string          `json:"command"`
		Args    []string        `json:"args"`
		Result  json.RawMessage `json:"result"`
	}
	list := make([]answer, len(t.Answers))
	for i, a := range t.Answers {
		list[i] = answer{a.Command, append([]string{}, a.Args...), json.RawMessage("null")}
		if a.Result == nil {
			continue
		}
		var b bytes.Buffer
		if err := WriteJSON(&b, a.Result); err != nil {
			return nil, err
		}
		list[i].Result = b.Bytes()
	}
	return json.Marshal(struct {
		TaskHeader
		Answers []answer `json:"answers"`
	}{t.TaskHeader, list})
}
