package view

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// rowed is a Result whose rows can be chosen and ordered: a slice of structs, an iterator over structs or over batches of them, or a pointer
// to a struct with one field that is such a slice or iterator. Text and JSON of what with makes are those of the Result, with other rows.
type rowed struct {
	row   reflect.Type // struct, or pointer to one
	rows  reflect.Value
	with  func(rows reflect.Value) Result
	names columnNamer // nil: the row's own fields
}

// columnNamer is a Result whose rows have fields that are known only when it is made.
type columnNamer interface {
	rowsField() string // the field of the Result that has the rows
	columnNames() []string
	// columnNamed is as rowed.column; ok is false if there is none of that name.
	columnNamed(name string) (get func(row reflect.Value) reflect.Value, t reflect.Type, ok bool)
}

// rowsOf finds the rows of a result; a NoRowsError if it is no list.
func rowsOf(r Result) (rowed, error) {
	v := reflect.ValueOf(r)
	if row := rowType(v.Type()); row != nil {
		return rowed{row: row, rows: v, with: func(rows reflect.Value) Result { return rows.Convert(v.Type()).Interface().(Result) }}, nil
	}
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return rowed{}, NoRowsError{}
	}
	names, named := r.(columnNamer)
	field := -1
	for i := range v.Elem().NumField() {
		f := v.Elem().Type().Field(i)
		if named && f.Name != names.rowsField() || !named && (!f.IsExported() || rowType(f.Type) == nil) {
			continue
		}
		if field >= 0 {
			return rowed{}, NoRowsError{} // two lists: which one is not said
		}
		field = i
	}
	if field < 0 {
		return rowed{}, NoRowsError{}
	}
	list := v.Elem().Field(field)
	return rowed{row: elementType(list.Type()), rows: list, names: names, with: func(rows reflect.Value) Result {
		twin := reflect.New(v.Elem().Type())
		twin.Elem().Set(v.Elem())
		twin.Elem().Field(field).Set(rows.Convert(list.Type()))
		return twin.Interface().(Result)
	}}, nil
}

// rowType is the type of the rows of a list, nil if t is none: its elements are structs with names in JSON, or pointers to such.
func rowType(t reflect.Type) reflect.Type {
	row := elementType(t)
	if row == nil || len(fieldNames(row)) == 0 {
		return nil
	}
	return row
}

// elementType is T of []T, iter.Seq[T], iter.Seq[[]T] and iter.Seq2[T, error]; nil for other types.
func elementType(t reflect.Type) reflect.Type {
	iterator := t.Kind() == reflect.Func && t.NumIn() == 1 && t.NumOut() == 0 && t.In(0).Kind() == reflect.Func
	switch {
	case t.Kind() == reflect.Slice:
		return t.Elem()
	case iterator && t.CanSeq() && t.In(0).In(0).Kind() == reflect.Slice:
		return t.In(0).In(0).Elem()
	case iterator && (t.CanSeq() || t.CanSeq2() && t.In(0).In(1) == reflect.TypeFor[error]()):
		return t.In(0).In(0)
	}
	return nil
}

// fieldNames are the names in JSON of a row's fields, those of embedded structs among them.
func fieldNames(row reflect.Type) []string {
	if row.Kind() == reflect.Pointer {
		row = row.Elem()
	}
	if row.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for _, f := range reflect.VisibleFields(row) {
		if name := jsonName(f); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// jsonName is what a field is called in JSON; "" if it is not there.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if !f.IsExported() || name == "-" {
		return ""
	}
	return name
}

// column finds a field of rows by its name in JSON; in the struct behind a name with a dot, too. get is the zero Value for a row that
// has none; t is the type of the others.
func (l rowed) column(name string) (get func(row reflect.Value) reflect.Value, t reflect.Type, err error) {
	if l.names != nil {
		if get, t, ok := l.names.columnNamed(name); ok {
			return get, t, nil
		}
	}
	var path [][]int
	t = l.row
	for part := range strings.SplitSeq(name, ".") {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		at := -1
		var fields []reflect.StructField
		if t.Kind() == reflect.Struct {
			fields = reflect.VisibleFields(t)
			at = slices.IndexFunc(fields, func(f reflect.StructField) bool { return part != "" && jsonName(f) == part })
		}
		if at < 0 {
			return nil, nil, fmt.Errorf("rows of this answer have no field %s; they have %s", name, strings.Join(l.fields(), ", "))
		}
		path = append(path, fields[at].Index)
		t = fields[at].Type
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return func(row reflect.Value) reflect.Value {
		for _, index := range path {
			for row.Kind() == reflect.Pointer {
				if row.IsNil() {
					return reflect.Value{}
				}
				row = row.Elem()
			}
			f, err := row.FieldByIndexErr(index)
			if err != nil {
				return reflect.Value{}
			}
			row = f
		}
		for row.Kind() == reflect.Pointer {
			if row.IsNil() {
				return reflect.Value{}
			}
			row = row.Elem()
		}
		return row
	}, t, nil
}

// fields are the names of the rows' fields.
func (l rowed) fields() []string {
	if l.names != nil {
		return l.names.columnNames()
	}
	return fieldNames(l.row)
}

// batched says that rows come in batches, as where there are millions of them.
func (l rowed) batched() bool {
	t := l.rows.Type()
	return t.Kind() == reflect.Func && t.CanSeq() && t.In(0).In(0).Kind() == reflect.Slice
}

// each calls f with every row until it is false, and fail with an iterator's errors, after which there may be more rows.
func (l rowed) each(f func(reflect.Value) bool, fail func(error) bool) {
	switch {
	case l.rows.Kind() == reflect.Slice:
		for i := range l.rows.Len() {
			if !f(l.rows.Index(i)) {
				return
			}
		}
	case l.rows.IsNil():
	case l.batched():
		for batch := range l.rows.Seq() {
			for i := range batch.Len() {
				if !f(batch.Index(i)) {
					return
				}
			}
		}
	case l.rows.Type().CanSeq():
		for row := range l.rows.Seq() {
			if !f(row) {
				return
			}
		}
	default:
		for row, e := range l.rows.Seq2() {
			more := false
			if err, _ := e.Interface().(error); err != nil {
				more = fail(err)
			} else {
				more = f(row)
			}
			if !more {
				return
			}
		}
	}
}

// made is the Result with the rows that source gives; of an iterator they are asked for only when they are written.
func (l rowed) made(source func(yield func(reflect.Value) bool, fail func(error) bool)) Result {
	never := func(error) bool { return true } // slices, and iterators over rows alone, have no errors
	if l.rows.Kind() == reflect.Slice {
		rows := reflect.MakeSlice(l.rows.Type(), 0, l.rows.Len())
		source(func(row reflect.Value) bool { rows = reflect.Append(rows, row); return true }, never)
		return l.with(rows)
	}
	if l.batched() {
		return l.with(reflect.MakeFunc(l.rows.Type(), func(args []reflect.Value) []reflect.Value {
			const most = 1024
			t := args[0].Type().In(0)
			batch := reflect.MakeSlice(t, 0, most)
			more := true
			flush := func() bool {
				if batch.Len() > 0 {
					more = args[0].Call([]reflect.Value{batch})[0].Bool()
					batch = reflect.MakeSlice(t, 0, most)
				}
				return more
			}
			source(func(row reflect.Value) bool {
				batch = reflect.Append(batch, row)
				return batch.Len() < most || flush()
			}, never)
			if more {
				flush()
			}
			return nil
		}))
	}
	if l.rows.Type().CanSeq() {
		return l.with(reflect.MakeFunc(l.rows.Type(), func(args []reflect.Value) []reflect.Value {
			source(func(row reflect.Value) bool { return args[0].Call([]reflect.Value{row})[0].Bool() }, never)
			return nil
		}))
	}
	return l.with(reflect.MakeFunc(l.rows.Type(), func(args []reflect.Value) []reflect.Value {
		call := func(row reflect.Value, err error) bool {
			return args[0].Call([]reflect.Value{row, reflect.ValueOf(&err).Elem()})[0].Bool()
		}
		source(func(row reflect.Value) bool { return call(row, nil) }, func(err error) bool { return call(reflect.Zero(l.row), err) })
		return nil
	}))
}

// NoRowsError says that an answer is no list.
type NoRowsError struct{}

func (NoRowsError) Error() string { return "this answer is no list of rows" }

// Where is r with only those rows whose field passes. The error is a NoRowsError, names the fields that there are, or says what is wrong
// with the value.
func Where(r Result, field, op, value string) (Result, error) {
	l, err := rowsOf(r)
	if err != nil {
		return nil, err
	}
	column, t, err := l.column(field)
	if err != nil {
		return nil, err
	}
	pass, err := condition(t, op, value)
	if err != nil {
		return nil, err
	}
	return l.made(func(yield func(reflect.Value) bool, fail func(error) bool) {
		l.each(func(row reflect.Value) bool { return !pass(column(row)) || yield(row) }, fail)
	}), nil
}

// Sort is r with its rows ordered by a field, ascending or descending; rows without a value come last, and those with the same value stay
// in their order. All rows are held in memory. Errors are as Where's.
func Sort(r Result, field string, descending bool) (Result, error) {
	l, err := rowsOf(r)
	if err != nil {
		return nil, err
	}
	column, t, err := l.column(field)
	if err != nil {
		return nil, err
	}
	compare, err := order(t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return l.made(func(yield func(reflect.Value) bool, fail func(error) bool) {
		type keyed struct{ row, key reflect.Value }
		var rows []keyed
		var failures []error
		l.each(func(row reflect.Value) bool {
			rows = append(rows, keyed{row, column(row)})
			return true
		}, func(err error) bool {
			failures = append(failures, err)
			return true
		})
		slices.SortStableFunc(rows, func(a, b keyed) int {
			switch {
			case !a.key.IsValid() && !b.key.IsValid():
				return 0
			case !a.key.IsValid():
				return 1
			case !b.key.IsValid():
				return -1
			case descending:
				a, b = b, a
			}
			return compare(a.key, b.key)
		})
		for _, x := range rows {
			if !yield(x.row) {
				return
			}
		}
		for _, err := range failures {
			if !fail(err) {
				return
			}
		}
	}), nil
}
