// An HTTP service that refuses sessions that ended or are held, by the keys of the denylist, for every request.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"
)

// Times are text of 27 characters, so that comparing text will do.
const moment = "2006-01-02T15:04:05.000000Z"

// Guard refuses what is over with 401, what is held with 403, and everybody with 503 while nobody can tell.
func Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		known, now := identify(r), time.Now().UTC()
		if known["session_id"] == "" {
			refuse(w, http.StatusUnauthorized, "sign in", "Bearer")
			return
		}
		entry, err := Refusal(known, now.Format(moment), now.Add(-10*time.Second).Format(moment))
		switch {
		case err != nil:
			log.Print(err)
			refuse(w, http.StatusServiceUnavailable, "nobody can tell now", "")
		case entry == nil:
			next.ServeHTTP(w, r)
		case entry.Until != "":
			refuse(w, http.StatusForbidden, "held", "")
		default:
			refuse(w, http.StatusUnauthorized, entry.Cause, `Bearer error="invalid_token"`)
		}
	})
}

func refuse(w http.ResponseWriter, status int, why, challenge string) {
	w.Header().Set("Cache-Control", "no-store")
	if challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	http.Error(w, why, status)
}

// Yours: who this is. Here a proxy in front has verified the token and says it in two headers, percent-encoded. Say the
// tenant also where there is only one, which is "". When they signed in is not known: times are then "" and "~".
func identify(r *http.Request) Known {
	subject, _ := url.PathUnescape(r.Header.Get("X-Revoker-Subject"))
	session, _ := url.PathUnescape(r.Header.Get("X-Revoker-Session"))
	return Known{"tenant": "", "subject": subject, "session_id": session, "not_before": "", "not_after": "~"}
}

func (k Known) text(name string) string {
	value, _ := k[name].(string)
	return value
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "check" {
		check()
		return
	}
	hello := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello", identify(r)["subject"]) }
	log.Fatal(http.ListenAndServe("127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "3000"), Guard(http.HandlerFunc(hello))))
}

// Answers the questions of tests/integration/test_examples.py, one a line.
func check() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var asked struct {
			Known       Known
			Now, Oldest string
		}
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		entry, err := Refusal(asked.Known, asked.Now, asked.Oldest)
		if answer, _ := json.Marshal(entry); err != nil {
			fmt.Println(`"unknown"`)
		} else {
			fmt.Println(string(answer))
		}
	}
}
