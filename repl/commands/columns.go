package commands

import (
	"bytes"
	"io"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// writeColumns writes kdx's own tables: a header and rows in columns as wide as they need be, without lines. Crash's
// tables have fixed widths, which scripts know, and are written directly.
func writeColumns(w io.Writer, header []string, rows [][]string) error {
	var b bytes.Buffer
	plain := tw.CellConfig{Formatting: tw.CellFormatting{AutoFormat: tw.Off, AutoWrap: tw.WrapNone}, Alignment: tw.CellAlignment{Global: tw.AlignLeft},
		Padding: tw.CellPadding{Global: tw.Padding{Right: "  ", Overwrite: true}}}
	t := tablewriter.NewTable(&b, tablewriter.WithConfig(tablewriter.Config{Header: plain, Row: plain}),
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{Borders: tw.BorderNone, Settings: tw.Settings{Separators: tw.SeparatorsNone, Lines: tw.LinesNone}})))
	t.Header(header)
	if err := t.Bulk(rows); err != nil {
		return err
	}
	if err := t.Render(); err != nil {
		return err
	}
	for line := range bytes.Lines(b.Bytes()) {
		if _, err := w.Write(append(bytes.TrimRight(line, " \n"), '\n')); err != nil {
			return err
		}
	}
	return nil
}
