// As much of Redis as the reader needs. A service that talks to Redis anyway uses the client that it has.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"
)

// Read is what the keys hold at one moment: the epoch, as-of, and all values of the hashes.
func Read(prefix string, hashes []string) (epoch, asOf string, values []string, err error) {
	commands := [][]string{{"MULTI"}, {"GET", prefix + "epoch"}, {"GET", prefix + "as-of"}}
	for _, hash := range hashes {
		commands = append(commands, []string{"HVALS", prefix + hash})
	}
	answer, err := ask(append(commands, []string{"EXEC"}))
	if parts, _ := answer.([]any); len(parts) == 2+len(hashes) {
		epoch, _ = parts[0].(string)
		asOf, _ = parts[1].(string)
		for _, part := range parts[2:] {
			for _, value := range part.([]any) {
				values = append(values, value.(string))
			}
		}
	}
	return epoch, asOf, values, err
}

func ask(commands [][]string) (answer any, err error) {
	server, err := url.Parse(cmp.Or(os.Getenv("REVOKER_REDIS_URL"), "redis://127.0.0.1:6379"))
	if err != nil {
		return nil, err
	}
	if password, given := server.User.Password(); given {
		commands = append([][]string{{"AUTH", cmp.Or(server.User.Username(), "default"), password}}, commands...)
	}
	connection, err := net.DialTimeout("tcp", server.Host, time.Second)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(time.Second))
	request, replies := bufio.NewWriter(connection), bufio.NewReader(connection)
	for _, words := range commands {
		fmt.Fprintf(request, "*%d\r\n", len(words))
		for _, word := range words {
			fmt.Fprintf(request, "$%d\r\n%s\r\n", len(word), word)
		}
	}
	err = request.Flush()
	for i := 0; i < len(commands) && err == nil; i++ {
		answer, err = reply(replies)
	}
	return answer, err
}

func reply(from *bufio.Reader) (any, error) {
	line, err := from.ReadString('\n')
	if err != nil || len(line) < 3 {
		return nil, errors.Join(errors.New("Redis does not answer"), err)
	}
	kind, rest := line[0], line[1:len(line)-2]
	size, _ := strconv.Atoi(rest)
	switch {
	case kind == '-':
		return nil, errors.New(rest)
	case kind == '$' && size >= 0:
		text := make([]byte, size+2)
		_, err = io.ReadFull(from, text)
		return string(text[:size]), err
	case kind == '*' && size >= 0:
		many := make([]any, size)
		for i := 0; i < size && err == nil; i++ {
			many[i], err = reply(from)
		}
		return many, err
	}
	return nil, nil
}
