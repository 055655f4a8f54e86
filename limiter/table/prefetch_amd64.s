#include "textflag.h"

// func prefetch(header, path uintptr)
TEXT ·prefetch(SB), NOSPLIT, $0-16
	MOVQ path+8(FP), AX
	MOVQ header+0(FP), BX
	PREFETCHT0 (AX)
	PREFETCHT0 64(AX)
	PREFETCHT0 (BX)
	RET
