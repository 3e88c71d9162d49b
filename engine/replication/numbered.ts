/**
 * A few things under numbers of their own, in order of number: plain data, two arrays. Numbers are given in growing
 * order, so most enter at the end; what is under way at once is little, so leaving moves little.
 *
 * Not a Map: one whose entries come and go is made anew every few dozen of them. Each former table refers to the next
 * one and to what it had, so once the collector has moved one to where it seldom looks, it moves all that follow. With
 * Maps of requests under way that was an eighth of what a primary allocated, and its heap was marked once a second.
 */
import { assert } from '../assert.ts'

export interface Numbered<T> {
  /** Growing. */
  numbers: number[]
  /** Of each number. */
  values: T[]
}

export const noNumbered = <T>(): Numbered<T> => ({ numbers: [], values: [] })

export const countNumbered = ({ numbers }: Numbered<unknown>): number => numbers.length

/** What is under this number, if anything. */
export function numberedAt<T>({ numbers, values }: Numbered<T>, number: number): T | undefined {
  const at = placeOf(numbers, number)
  return numbers[at] === number ? values[at] : undefined
}

/** Put it under a number that is free. */
export function enterNumbered<T>({ numbers, values }: Numbered<T>, number: number, value: T): void {
  const at = placeOf(numbers, number)
  assert(numbers[at] !== number, 'a number is given once')
  if (at === numbers.length) {
    numbers.push(number)
    values.push(value)
    return
  }
  numbers.splice(at, 0, number)
  values.splice(at, 0, value)
}

/** Take it out; nothing happens when nothing is there. */
export function leaveNumbered<T>({ numbers, values }: Numbered<T>, number: number): void {
  const at = placeOf(numbers, number)
  if (numbers[at] !== number) return
  if (at === 0) {
    // Most leave in order.
    numbers.shift()
    values.shift()
    return
  }
  // Moved by hand: `splice` makes an array of what it takes out.
  for (let i = at + 1; i < numbers.length; i++) {
    numbers[i - 1] = numbers[i]!
    values[i - 1] = values[i]!
  }
  numbers.pop()
  values.pop()
}

/** Where the first one is that is not below this number. */
function placeOf(numbers: readonly number[], number: number): number {
  const { length } = numbers
  if (length === 0 || numbers[length - 1]! < number) return length
  let low = 0
  let high = length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (numbers[middle]! < number) low = middle + 1
    else high = middle
  }
  return low
}
