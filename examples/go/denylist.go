// The reader of docs/redis.md: who may not pass, as the keys of the denylist say.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
)

// Known is what you know of a caller, under the names of docs/redis.md, with both times of the sign-in.
type Known map[string]any

// Entry is what the denylist says of some sessions.
type Entry struct {
	ID, Cause, Until, Lift, At string
	Selector                   map[string]any
	NotBefore                  string `json:"not_before"`
	Named                      bool
	Keep                       []any
	KeepClients                []any `json:"keep_clients"`
}

// Refusal is the entry that refuses the caller, or nil. After an error you do not know: answer 503.
func Refusal(known Known, now, oldest string) (hold *Entry, err error) {
	keys := []string{"session:" + known.text("session_id"), "token:" + known.text("token_id"),
		"subject:" + known.text("tenant") + ":" + known.text("subject"), "wide"}
	epoch, asOf, values, err := Read("revoker:revoked:", keys)
	if err != nil || epoch == "" || asOf == "" || asOf < oldest {
		return nil, errors.Join(errors.New("the denylist cannot tell now"), err)
	}
	lifts, matching := map[string]string{}, []*Entry{}
	for _, value := range values {
		entry := &Entry{}
		if err := json.Unmarshal([]byte(value), entry); err != nil {
			return nil, err
		}
		if entry.Lift != "" {
			lifts[entry.Lift] = entry.At
		} else if entry.matches(known) {
			matching = append(matching, entry)
		}
	}
	for _, entry := range matching {
		if entry.Until == "" && known.text("not_after") <= cmp.Or(entry.NotBefore, "~") {
			return entry, nil
		} else if now < entry.Until && now < cmp.Or(lifts[entry.ID], "~") {
			hold = cmp.Or(hold, entry)
		}
	}
	return hold, nil
}

func (e *Entry) matches(known Known) bool {
	for name, wanted := range e.Selector {
		if !e.equals(name, wanted, known) {
			return false
		}
	}
	kept := slices.Contains(e.Keep, known["session_id"]) || slices.Contains(e.KeepClients, known["client_id"])
	return e.Selector != nil && !kept
}

func (e *Entry) equals(name string, wanted any, known Known) bool {
	mine := known[name]
	switch {
	case name == "everyone":
		return true
	case name == "established_after":
		return known.text("not_before") > wanted.(string)
	case name == "ip_network" && known["ip"] != nil:
		return netip.MustParsePrefix(wanted.(string)).Contains(netip.MustParseAddr(known.text("ip")))
	case mine == nil:
		return e.Named
	}
	switch wanted := wanted.(type) {
	case []any:
		return slices.Contains(wanted, mine)
	case map[string]any:
		labels, _ := mine.(map[string]any)
		for label, value := range wanted {
			if labels[label] != value {
				return false
			}
		}
		return true
	}
	return mine == wanted
}
