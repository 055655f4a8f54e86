#include "textflag.h"

// func Line(address uintptr)
TEXT ·Line(SB), NOSPLIT, $0-8
	MOVQ address+0(FP), AX
	PREFETCHT0 (AX)
	RET

// func LineAndPair(line, pair uintptr)
TEXT ·LineAndPair(SB), NOSPLIT, $0-16
	MOVQ pair+8(FP), AX
	MOVQ line+0(FP), BX
	PREFETCHT0 (AX)
	PREFETCHT0 64(AX)
	PREFETCHT0 (BX)
	RET
