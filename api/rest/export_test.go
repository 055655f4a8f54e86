package rest

import "reflect"

// Bodies returns the types of the bodies, by the names of their schemas.
func Bodies() map[string]reflect.Type {
	return map[string]reflect.Type{
		"Check": reflect.TypeFor[check](), "Batch": reflect.TypeFor[batch](), "Decision": reflect.TypeFor[decision](),
		"Limit": reflect.TypeFor[limit](), "Explanation": reflect.TypeFor[explanation](), "Problem": reflect.TypeFor[problem](),
		"Reserve": reflect.TypeFor[reserve](), "Extend": reflect.TypeFor[extend](), "Settle": reflect.TypeFor[settle](),
		"Cancel": reflect.TypeFor[cancel](), "Reservation": reflect.TypeFor[reservation](), "Reserved": reflect.TypeFor[reserved](),
		"Extension": reflect.TypeFor[extension](), "Settlement": reflect.TypeFor[settlement](), "Settled": reflect.TypeFor[settled](),
	}
}
