package main

import "strings"

// didYouMean is the end of a message about an unknown name: the known name nearest to it with prefix before it, if one is near.
func didYouMean(prefix, name string, known []string) string {
	if near, ok := nearest(name, known); ok {
		return ": did you mean " + prefix + near + "?"
	}
	return ""
}

// longestName is more than any name has, and bounds the work for a name that is not one.
const longestName = 64

// nearest finds the known name with the fewest edits from name, or one that ends in it ("topic" for kafka.topic). It finds
// none if more than a third of the letters differ.
func nearest(name string, known []string) (string, bool) {
	if len(name) > longestName {
		return "", false
	}
	name = strings.ToLower(name)
	best, least := "", len(name)/3+1
	for _, candidate := range known {
		folded := strings.ToLower(candidate)
		distance := edits(name, folded)
		if strings.HasSuffix(folded, "."+name) || strings.HasSuffix(folded, "_"+name) {
			distance = 1
		}
		if distance < least {
			best, least = candidate, distance
		}
	}
	return best, best != ""
}

// edits counts the letters to insert, remove, replace, or swap with their neighbour, that make b of a (the optimal string alignment
// distance).
func edits(a, b string) int {
	// d[i][j] is the distance of a[:i] and b[:j].
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			d[i][j] = min(replace, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
