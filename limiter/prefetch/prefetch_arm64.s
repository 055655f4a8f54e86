#include "textflag.h"

// func Line(address uintptr)
TEXT ·Line(SB), NOSPLIT, $0-8
	MOVD address+0(FP), R0
	PRFM (R0), PLDL1KEEP
	RET

// func LineAndPair(line, pair uintptr)
TEXT ·LineAndPair(SB), NOSPLIT, $0-16
	MOVD pair+8(FP), R0
	MOVD line+0(FP), R1
	PRFM (R0), PLDL1KEEP
	ADD $64, R0, R2
	PRFM (R2), PLDL1KEEP
	PRFM (R1), PLDL1KEEP
	RET
