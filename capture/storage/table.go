package storage

import (
	"errors"
	"fmt"
	"strconv"
)

// check says what is wrong with a table that stands on so many devices.
func (m *Map) check(below int) error {
	if len(m.Name) > 127 || len(m.UUID) > 128 {
		return errors.New("its name or UUID is longer than 127 bytes")
	}
	var at uint64
	for _, t := range m.Table {
		if t.Start != at || t.Length == 0 || t.Start+t.Length < t.Start {
			return fmt.Errorf("its table has a gap or an overlap at sector %d", at)
		}
		at += t.Length
		if _, ok := dmModules[t.Type]; !ok {
			return fmt.Errorf("%q is no target that kdx makes", t.Type)
		}
		for _, p := range placeholder.FindAllStringSubmatch(t.Params, -1) {
			if n, err := strconv.Atoi(p[1]); err != nil || n >= below {
				return fmt.Errorf("its table names device %s of %d", p[0], below)
			}
		}
	}
	return nil
}
