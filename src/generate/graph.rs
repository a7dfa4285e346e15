//! Graphs of what refers to what.

/// Marks a node that has not been visited.
const NEW: usize = usize::MAX;

/// The strongly connected components of a graph, as the numbers of their nodes. Each component comes after those that it
/// leads to.
///
/// This is Tarjan's algorithm without recursion, because paths may be long.
pub fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut search = Search {
        edges,
        order: vec![NEW; edges.len()],
        low: vec![0; edges.len()],
        is_done: vec![false; edges.len()],
        open: Vec::new(),
        visited: 0,
        found: Vec::new(),
    };
    for start in 0..edges.len() {
        search.visit_all(start);
    }
    search.found
}

struct Search<'a> {
    edges: &'a [Vec<usize>],
    /// The order in which nodes were visited.
    order: Vec<usize>,
    /// The first node, by that order, that each node is known to lead to.
    low: Vec<usize>,
    /// Whether a node's component is found.
    is_done: Vec<bool>,
    /// Visited nodes whose component is not found yet.
    open: Vec<usize>,
    visited: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    /// Visits all nodes that a node leads to. The path holds nodes, each with the number of its next edge.
    fn visit_all(&mut self, start: usize) {
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.pop() {
            if next == 0 && !self.begin(node) {
                continue;
            }
            match self.edges[node].get(next) {
                Some(&target) => path.extend([(node, next + 1), (target, 0)]),
                None => self.end(node),
            }
        }
    }

    /// Begins to visit a node, unless it has been visited.
    fn begin(&mut self, node: usize) -> bool {
        let is_new = self.order[node] == NEW;
        if is_new {
            (self.order[node], self.low[node]) = (self.visited, self.visited);
            self.visited += 1;
            self.open.push(node);
        }
        is_new
    }

    /// Ends the visit of a node, whose targets are all visited: it may complete a component.
    fn end(&mut self, node: usize) {
        let targets = self.edges[node].iter().filter(|t| !self.is_done[**t]);
        let lowest = targets.map(|t| self.low[*t]).min();
        self.low[node] = self.low[node].min(lowest.unwrap_or(NEW));
        if self.low[node] == self.order[node] {
            let first = self.open.iter().rposition(|n| *n == node).unwrap_or(0);
            let component = self.open.split_off(first);
            component.iter().for_each(|n| self.is_done[*n] = true);
            self.found.push(component);
        }
    }
}
