package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// checkOptions are the flags of `headgate check`.
type checkOptions struct {
	server    string
	cost      uint64
	costs     unitCosts
	requestID string
	giveBack  bool
	peek      bool
	explain   bool
	timeout   time.Duration
	output    outputFormat
	secure    tlsOptions
}

func newCheck() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check DOMAIN [KEY=VALUE[,KEY=VALUE]...]...",
		Short: "Ask a server whether a call may pass",
		Long: `Check asks a running server, over its native gRPC API, whether a call with these
attributes may pass, and charges it as any other call. --peek only looks: nothing is
charged, and the answer is whether --cost units would pass. So does --cost 0, which
asks about 1 unit.

A pace makes an allowed call wait before it starts: the answer says how long, and its
turn is taken. Give the cost back if it does not start.

--costs says what the call costs the limits that count a named unit ("unit: tokens" in a
policy), instead of --cost. --request-id names the call to quotas in exact mode, which charge
the same id once however often it is asked, for ten minutes; with --give-back it names the
call that is given back.

With --explain it also says which units no limit counts, and with nothing charged which
limits gave way to others and whether the domain is enforced.

A comma or a backslash inside a value is written \, or \\.
The order of the attributes matters only to limits that use "descriptor".

Exit codes: 0 allowed, 1 denied, 2 misuse (also what the server calls an invalid
request, an unknown domain, or a request id that stands for another charge), 3 server or network trouble.`,
		Example: `  headgate check shop remote_address=192.0.2.1
  headgate check shop path=/search,user=ann --explain
  headgate check shop path=/search,user=ann --peek --explain  # why? charges nothing
  headgate check llm tenant=acme --cost 250 --peek       # would 250 pass? charges nothing
  headgate check llm tenant=acme --cost 250 --give-back  # undo a charge of 250
  headgate check llm team=search --costs tokens=3000,cents=12 --explain
  headgate check llm team=search --costs cents=12 --request-id 7d0c2f  # charged once, whoever asks again
  headgate check shop user=ann -o json --server limits.internal:8081
  headgate check shop user=ann --server limits.internal:8081 --tls-ca ca.pem`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runCheck(cmd, args, &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.server, "server", "127.0.0.1:8081", "gRPC `address` of the server")
	f.Uint64Var(&o.cost, "cost", 1, "units that the call costs; 0 looks without charging")
	f.Var(&o.costs, "costs", "what the call costs in named units, instead of --cost; commas between several")
	f.StringVar(&o.requestID, "request-id", "", "`id` of the call, of 1 to 256 bytes, which exact quotas charge once")
	f.BoolVar(&o.giveBack, "give-back", false, "give the units back instead of charging them")
	f.BoolVar(&o.peek, "peek", false, "charge nothing: say whether --cost units would pass")
	f.BoolVar(&o.explain, "explain", false, "show every limit that the call reaches, its counter and where it is defined")
	f.DurationVar(&o.timeout, "timeout", 2*time.Second, "give up after this long")
	addTLS(f, &o.secure)
	addOutput(cmd, &o.output)
	return cmd
}

func runCheck(cmd *cobra.Command, args []string, o *checkOptions) error {
	if err := o.checkRequest(cmd.Flags().Changed("request-id")); err != nil {
		return misuse(err)
	}
	req := &headgatev1.CheckRequest{
		Domain: args[0], Cost: &o.cost, Costs: o.costs, GiveBack: o.giveBack, Explain: o.explain, RequestId: []byte(o.requestID),
	}
	for _, arg := range args[1:] {
		attributes, err := parseAttributes(arg)
		if err != nil {
			return misuse(err)
		}
		req.Attributes = append(req.Attributes, attributes...)
	}
	secure, err := o.secure.config()
	if err != nil {
		return misuse(err)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	answer, err := callCheck(ctx, o, secure, req)
	if err != nil {
		return err
	}
	if err := printCheck(cmd.OutOrStdout(), answer, o); err != nil {
		return trouble(err)
	}
	if answer.GetDecision().GetVerdict() == headgatev1.Verdict_VERDICT_DENIED {
		return answerNo()
	}
	return nil
}

// callCheck asks o.server, in cleartext if secure is nil, and says of an error
// whose fault it is. What was not explained is an answer with a decision only.
func callCheck(ctx context.Context, o *checkOptions, secure *tls.Config, req *headgatev1.CheckRequest) (*headgatev1.ExplainResponse, error) {
	transport := insecure.NewCredentials()
	if secure != nil {
		transport = credentials.NewTLS(secure)
	}
	conn, err := grpc.NewClient(o.server, grpc.WithTransportCredentials(transport))
	if err != nil {
		return nil, misuse(fmt.Errorf("--server %s: %w", o.server, err))
	}
	defer conn.Close() //nolint:errcheck // the answer is in hand, or an error is on its way
	client, answer := headgatev1.NewDecisionServiceClient(conn), new(headgatev1.ExplainResponse)
	switch {
	case o.explain && o.looks():
		answer, err = client.Explain(ctx, &headgatev1.ExplainRequest{
			Domain: req.GetDomain(), Attributes: req.GetAttributes(), Cost: req.Cost, Costs: req.GetCosts(),
		})
	case o.peek:
		answer.Decision, err = client.Peek(ctx, req)
	default:
		answer.Decision, err = client.Check(ctx, req)
	}
	if err != nil {
		s := status.Convert(err)
		err = fmt.Errorf("check on %s: %s (%s)", o.server, s.Message(), s.Code())
		switch s.Code() {
		case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists:
			return nil, misuse(err)
		default:
			return nil, trouble(err)
		}
	}
	return answer, nil
}

// parseAttributes splits "k=v,k2=v2". A backslash makes the next comma or
// backslash part of the value.
func parseAttributes(arg string) ([]*headgatev1.Attribute, error) {
	var attributes []*headgatev1.Attribute
	for _, pair := range splitUnescaped(arg) {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("attribute %q: want KEY=VALUE", pair)
		}
		attributes = append(attributes, &headgatev1.Attribute{Key: key, Value: value})
	}
	return attributes, nil
}

// splitUnescaped splits s at commas and removes the backslash from \, and \\.
func splitUnescaped(s string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ',' || s[i+1] == '\\'):
			i++
			part.WriteByte(s[i])
		case s[i] == ',':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(s[i])
		}
	}
	return append(parts, part.String())
}
