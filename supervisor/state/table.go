package state

import (
	"encoding/json"
	"fmt"
	"iter"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Table is an immutable sorted map. Put and Delete return a new table that
// shares all but the changed path with the old one, so a snapshot of a large
// cluster costs nothing and a walk is always in key order. The zero Table is
// empty and ready for use.
type Table[T any] struct {
	tree *iradix.Tree[T]
}

// Len is the number of keys.
func (t Table[T]) Len() int {
	if t.tree == nil {
		return 0
	}
	return t.tree.Len()
}

// Get returns the value of a key and whether there is one.
func (t Table[T]) Get(key string) (T, bool) {
	if t.tree == nil {
		var zero T
		return zero, false
	}
	return t.tree.Get([]byte(key))
}

// Put returns a table in which key has the value.
func (t Table[T]) Put(key string, value T) Table[T] {
	tree := t.tree
	if tree == nil {
		tree = iradix.New[T]()
	}
	tree, _, _ = tree.Insert([]byte(key), value)
	return Table[T]{tree}
}

// Delete returns a table without the key.
func (t Table[T]) Delete(key string) Table[T] {
	if t.tree == nil {
		return t
	}
	tree, _, _ := t.tree.Delete([]byte(key))
	return Table[T]{tree}
}

// All walks keys and values in key order.
func (t Table[T]) All() iter.Seq2[string, T] { return t.Prefix("") }

// Prefix walks the keys that begin with prefix, in key order.
func (t Table[T]) Prefix(prefix string) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		if t.tree == nil {
			return
		}
		t.tree.Root().WalkPrefix([]byte(prefix), func(k []byte, v T) bool {
			return !yield(string(k), v)
		})
	}
}

// Values walks the values in key order.
func (t Table[T]) Values() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, v := range t.All() {
			if !yield(v) {
				return
			}
		}
	}
}

// First returns the smallest key and its value.
func (t Table[T]) First() (string, T, bool) {
	for k, v := range t.All() {
		return k, v, true
	}
	var zero T
	return "", zero, false
}

type row[T any] struct {
	Key   string `json:"k"`
	Value T      `json:"v"`
}

// MarshalJSON writes the rows in key order.
func (t Table[T]) MarshalJSON() ([]byte, error) {
	rows := make([]row[T], 0, t.Len())
	for k, v := range t.All() {
		rows = append(rows, row[T]{k, v})
	}
	return json.Marshal(rows)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Table[T]) UnmarshalJSON(data []byte) error {
	var rows []row[T]
	if err := json.Unmarshal(data, &rows); err != nil {
		return fmt.Errorf("read table: %w", err)
	}
	txn := iradix.New[T]().Txn()
	for _, r := range rows {
		txn.Insert([]byte(r.Key), r.Value)
	}
	t.tree = txn.Commit()
	return nil
}
