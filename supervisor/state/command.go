package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/supervisord/supervisord/autoscale"
)

// ErrRefused is wrapped by every error of Apply: the command does not fit the
// state it met, and changed nothing.
var ErrRefused = errors.New("refused")

// Command is one change of the state. The set is closed: only this package
// defines commands.
type Command interface {
	kind() string
	apply(*change) error
}

// Kind is a command's name in the log.
func Kind(cmd Command) string { return cmd.kind() }

// Found begins a cluster. It is refused when there is one.
type Found struct {
	ID string `json:"id"`
}

// SetSpec puts a spec in force. Base is the revision it was made from; the
// command is refused when another spec came in between. Spec.Revision is
// given by the state.
type SetSpec struct {
	Spec Spec   `json:"spec"`
	Base uint64 `json:"base"`
	// Host is where the file was edited.
	Host string `json:"host"`
	// By is who did it, in words. Only with it the spec becomes a release that
	// is rolled out and can be gone back to.
	By string `json:"by,omitempty"`
}

// ReportSpecError says that a host's compose file is not in force, and why.
// An empty Problem says that it is again.
type ReportSpecError struct {
	Host    string `json:"host"`
	Problem string `json:"problem"`
}

// ScaleTo carries out a decision. It is refused when the count in force is no
// longer the one the decision started from.
type ScaleTo struct {
	Service  string             `json:"service"`
	Decision autoscale.Decision `json:"decision"`
}

// Hold sets a service's count by hand; a nil Count gives it back to the load
// (or to deploy.replicas where the service is not autoscaled).
type Hold struct {
	Service string `json:"service"`
	Count   *int   `json:"count"`
}

// Place puts a new instance on a host.
type Place struct {
	Service string `json:"service"`
	Slot    int    `json:"slot"`
	Host    string `json:"host"`
	// Revision is the definition the instance is created from; the command is
	// refused when it is no longer the current one.
	Revision string `json:"revision"`
	Why      string `json:"why"`
}

// Observe moves an instance on to Starting or Ready, as its host saw it.
type Observe struct {
	ID        string `json:"id"`
	Phase     Phase  `json:"phase"`
	Container string `json:"container"`
	Address   string `json:"address,omitempty"`
}

// Fail says that an instance will not serve (again).
type Fail struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
	// NameTaken: a container that is not ours has the name, so the slot is
	// passed over from now on.
	NameTaken bool `json:"name_taken,omitempty"`
	// Sick: its container runs and does not answer. Refused while another
	// instance of the service is being replaced; see Cluster.MayGiveUp.
	Sick bool `json:"sick,omitempty"`
	// Blameless: the host is at fault, not what was to run.
	Blameless bool `json:"blameless,omitempty"`
	// Return: its container was adopted and has not become ready; it is given
	// back as it is.
	Return bool `json:"return,omitempty"`
}

// Drain takes an instance out of service; it leaves when its requests are
// done.
type Drain struct {
	ID  string `json:"id"`
	Why string `json:"why"`
	// KeepReady is how many instances of the service must still be ready
	// without this one; the command is refused when there would be fewer,
	// because one has failed since the round that planned it.
	KeepReady int `json:"keep_ready,omitempty"`
	// Desired is the wanted count that it was planned for; the command is
	// refused when more are wanted by now. 0 in older logs.
	Desired int `json:"desired,omitempty"`
}

// Gone says that nothing of a draining or failed instance is left.
type Gone struct {
	ID string `json:"id"`
}

// ConfirmRoutes says that a host's nginx serves the state as of Index, apart
// from the sites in Rejected (service → reason), which keep their last form.
type ConfirmRoutes struct {
	Host     string            `json:"host"`
	Index    uint64            `json:"index"`
	Rejected map[string]string `json:"rejected,omitempty"`
}

// Note records an event that changes nothing else.
type Note struct {
	Event Event `json:"event"`
}

func (Found) kind() string           { return "found" }
func (SetSpec) kind() string         { return "set_spec" }
func (ReportSpecError) kind() string { return "report_spec_error" }
func (ScaleTo) kind() string         { return "scale_to" }
func (Hold) kind() string            { return "hold" }
func (Place) kind() string           { return "place" }
func (Observe) kind() string         { return "observe" }
func (Fail) kind() string            { return "fail" }
func (Drain) kind() string           { return "drain" }
func (Gone) kind() string            { return "gone" }
func (ConfirmRoutes) kind() string   { return "confirm_routes" }
func (Note) kind() string            { return "note" }

// Proposal is what one log entry holds: commands that are applied together,
// in order, at one time.
type Proposal struct {
	At       time.Time
	Commands []Command
}

// encodingVersion is raised when the envelope changes its form. New commands
// and new optional fields need no new version.
const encodingVersion = 1

type envelope struct {
	Version  int       `json:"v"`
	At       time.Time `json:"at"`
	Commands []item    `json:"c"`
}

type item struct {
	Kind string          `json:"k"`
	Body json.RawMessage `json:"b"`
}

// Encode writes a proposal in the log's form.
func Encode(p Proposal) ([]byte, error) {
	e := envelope{Version: encodingVersion, At: p.At.UTC().Round(0)}
	for _, c := range p.Commands {
		body, err := json.Marshal(c)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", c.kind(), err)
		}
		e.Commands = append(e.Commands, item{c.kind(), body})
	}
	return json.Marshal(e)
}

// Decode reads what Encode wrote. A command this version does not know is an
// error: a host that skipped it would hold another state than the rest.
func Decode(data []byte) (Proposal, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return Proposal{}, fmt.Errorf("decode proposal: %w", err)
	}
	if e.Version != encodingVersion {
		return Proposal{}, fmt.Errorf("decode proposal: version %d, this daemon knows %d", e.Version, encodingVersion)
	}
	p := Proposal{At: e.At}
	for _, it := range e.Commands {
		c, err := decodeCommand(it)
		if err != nil {
			return Proposal{}, err
		}
		p.Commands = append(p.Commands, c)
	}
	return p, nil
}

func decodeCommand(it item) (Command, error) {
	switch it.Kind {
	case "found":
		return read[Found](it)
	case "register_host":
		return read[RegisterHost](it)
	case "lose_host":
		return read[LoseHost](it)
	case "find_host":
		return read[FindHost](it)
	case "drain_host":
		return read[DrainHost](it)
	case "remove_host":
		return read[RemoveHost](it)
	case "open_cluster":
		return read[OpenCluster](it)
	case "admit":
		return read[Admit](it)
	case "add_token":
		return read[AddToken](it)
	case "revoke_token":
		return read[RevokeToken](it)
	case "set_spec":
		return read[SetSpec](it)
	case "report_spec_error":
		return read[ReportSpecError](it)
	case "scale_to":
		return read[ScaleTo](it)
	case "hold":
		return read[Hold](it)
	case "place":
		return read[Place](it)
	case "observe":
		return read[Observe](it)
	case "fail":
		return read[Fail](it)
	case "drain":
		return read[Drain](it)
	case "gone":
		return read[Gone](it)
	case "confirm_routes":
		return read[ConfirmRoutes](it)
	case "note":
		return read[Note](it)
	case "report_health":
		return read[ReportHealth](it)
	case "relimit":
		return read[Relimit](it)
	case "relimited":
		return read[Relimited](it)
	case "start_canary":
		return read[StartCanary](it)
	case "place_canary":
		return read[PlaceCanary](it)
	case "promote":
		return read[Promote](it)
	case "end_canary":
		return read[EndCanary](it)
	case "suspect":
		return read[Suspect](it)
	case "finish_rollout":
		return read[FinishRollout](it)
	case "pause_rollout":
		return read[PauseRollout](it)
	case "roll_back":
		return read[RollBack](it)
	case "survey":
		return read[Survey](it)
	case "adopt":
		return read[Adopt](it)
	case "finish_adoption":
		return read[FinishAdoption](it)
	case "return_adopted":
		return read[ReturnAdopted](it)
	case "ignore_foreign":
		return read[IgnoreForeign](it)
	case "set_seal_key":
		return read[SetSealKey](it)
	case "take_lock":
		return read[TakeLock](it)
	case "release_lock":
		return read[ReleaseLock](it)
	case "put_blob":
		return read[PutBlob](it)
	case "delete_blob":
		return read[DeleteBlob](it)
	case "begin_cert_order":
		return read[BeginCertOrder](it)
	case "fail_cert_order":
		return read[FailCertOrder](it)
	case "keep_certificate":
		return read[KeepCertificate](it)
	case "demand_certificate":
		return read[DemandCertificate](it)
	case "plan_renewal":
		return read[PlanRenewal](it)
	case "arm_backup":
		return read[ArmBackup](it)
	case "begin_task":
		return read[BeginTask](it)
	case "finish_task":
		return read[FinishTask](it)
	}
	return nil, fmt.Errorf("decode proposal: unknown command %q: the log was written by a newer supervisord", it.Kind)
}

func read[C Command](it item) (Command, error) {
	var c C
	if err := json.Unmarshal(it.Body, &c); err != nil {
		return nil, fmt.Errorf("decode %s: %w", it.Kind, err)
	}
	return c, nil
}
