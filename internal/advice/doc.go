// Package advice finds configurations that are valid but can hardly be meant. It looks at
// the options of a handler ([Options]) and at the routes around it ([Site]), and says what
// to write instead. Nothing is refused because of it.
package advice
