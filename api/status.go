package api

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Code returns the gRPC status code of an error of this package or of a door.
// It is the only mapping: the doors have none of their own.
//
// TooManyCharges is a failed precondition and not an exhausted resource: the
// request can't pass until the policy changes, and gateways take exhaustion for
// a rate limit of their own.
func Code(err error) codes.Code {
	var f *Fault
	switch {
	case err == nil:
		return codes.OK
	case errors.As(err, &f):
		switch f.Reason {
		case Malformed, OutOfBounds:
			return codes.InvalidArgument
		case UnknownDomain:
			return codes.NotFound
		case TooManyCharges, EndedReservation, NotRemembered:
			return codes.FailedPrecondition
		case NoReservation:
			return codes.NotFound
		case OtherReservation, Reused:
			return codes.AlreadyExists
		case BusyReservation:
			return codes.Aborted
		case LateReservation, FullReservations:
			return codes.Unavailable
		}
		return codes.Internal
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	default:
		return codes.Internal
	}
}

// Status returns err as gRPC sends it, with the code that Code says.
func Status(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(Code(err), err.Error())
}
