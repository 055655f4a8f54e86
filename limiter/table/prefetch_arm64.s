#include "textflag.h"

// func prefetch(header, path uintptr)
TEXT ·prefetch(SB), NOSPLIT, $0-16
	MOVD path+8(FP), R0
	MOVD header+0(FP), R1
	PRFM (R0), PLDL1KEEP
	ADD $64, R0, R2
	PRFM (R2), PLDL1KEEP
	PRFM (R1), PLDL1KEEP
	RET
