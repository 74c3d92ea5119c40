package dwarfinfo

// LocBase is where in .debug_loclists the unit's table of offsets lies, which DW_FORM_loclistx indexes.
func (u *Unit) LocBase() uint64 { return u.root().locBase }
