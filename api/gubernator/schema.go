package gubernator

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

const protoPackage = "pb.gubernator"

// Schema returns the messages of the service, for those who don't mind the cost of
// message objects. It is made anew by each call, and is in no registry: a process
// may have Gubernator's own code, too.
func Schema() protoreflect.FileDescriptor {
	text, number := typed(descriptorpb.FieldDescriptorProto_TYPE_STRING), typed(descriptorpb.FieldDescriptorProto_TYPE_INT64)
	created := number("created_at", 10)
	created.Proto3Optional, created.OneofIndex = proto.Bool(true), proto.Int32(0)
	request := message("RateLimitReq",
		text("name", fieldName), text("unique_key", fieldKey), number("hits", fieldHits), number("limit", fieldLimit),
		number("duration", fieldDuration), enumField("Algorithm", "algorithm", fieldAlgorithm), enumField("Behavior", "behavior", fieldBehavior),
		number("burst", fieldBurst), many(of("RateLimitReq.MetadataEntry", "metadata", fieldMetadata)), created)
	request.NestedType = []*descriptorpb.DescriptorProto{mapEntry()}
	request.OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: proto.String("_created_at")}}
	response := message("RateLimitResp",
		enumField("Status", "status", 1), number("limit", 2), number("remaining", 3), number("reset_time", 4), text("error", 5),
		many(of("RateLimitResp.MetadataEntry", "metadata", 6)))
	response.NestedType = []*descriptorpb.DescriptorProto{mapEntry()}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("headgate/gubernator.proto"), Package: proto.String(protoPackage), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			message("GetRateLimitsReq", many(of("RateLimitReq", "requests", 1))),
			message("GetRateLimitsResp", many(of("RateLimitResp", "responses", 1))),
			request, response,
			message("HealthCheckResp", text("status", 1), text("message", 2),
				typed(descriptorpb.FieldDescriptorProto_TYPE_INT32)("peer_count", 3), text("advertise_address", 4)),
		},
		EnumType: []*descriptorpb.EnumDescriptorProto{
			enum("Algorithm", value("TOKEN_BUCKET", tokenBucket), value("LEAKY_BUCKET", leakyBucket)),
			enum("Behavior", value("BATCHING", 0), value("NO_BATCHING", noBatching), value("GLOBAL", global),
				value("DURATION_IS_GREGORIAN", gregorian), value("RESET_REMAINING", reset), value("MULTI_REGION", multiRegion),
				value("DRAIN_OVER_LIMIT", drainOver)),
			enum("Status", value("UNDER_LIMIT", 0), value("OVER_LIMIT", overLimit)),
		},
	}, nil)
	if err != nil {
		panic(err) // it depends on nothing
	}
	return file
}

func message(name string, fields ...*descriptorpb.FieldDescriptorProto) *descriptorpb.DescriptorProto {
	return &descriptorpb.DescriptorProto{Name: proto.String(name), Field: fields}
}

// mapEntry is an entry of metadata.
func mapEntry() *descriptorpb.DescriptorProto {
	text := typed(descriptorpb.FieldDescriptorProto_TYPE_STRING)
	m := message("MetadataEntry", text("key", 1), text("value", 2))
	m.Options = &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)}
	return m
}

// typed returns what makes fields of a type.
func typed(t descriptorpb.FieldDescriptorProto_Type) func(name string, number int32) *descriptorpb.FieldDescriptorProto {
	return func(name string, number int32) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(number), Type: t.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
}

// of is a field that is a message.
func of(kind, name string, number int32) *descriptorpb.FieldDescriptorProto {
	f := typed(descriptorpb.FieldDescriptorProto_TYPE_MESSAGE)(name, number)
	f.TypeName = proto.String("." + protoPackage + "." + kind)
	return f
}

func enumField(kind, name string, number int32) *descriptorpb.FieldDescriptorProto {
	f := typed(descriptorpb.FieldDescriptorProto_TYPE_ENUM)(name, number)
	f.TypeName = proto.String("." + protoPackage + "." + kind)
	return f
}

func many(f *descriptorpb.FieldDescriptorProto) *descriptorpb.FieldDescriptorProto {
	f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	return f
}

func enum(name string, values ...*descriptorpb.EnumValueDescriptorProto) *descriptorpb.EnumDescriptorProto {
	return &descriptorpb.EnumDescriptorProto{Name: proto.String(name), Value: values}
}

func value(name string, number int32) *descriptorpb.EnumValueDescriptorProto {
	return &descriptorpb.EnumValueDescriptorProto{Name: proto.String(name), Number: proto.Int32(number)}
}
