//! Graphs of what refers to what.

/// The strongly connected components of a graph, by the numbers of its nodes; each comes after those that it leads to.
/// Tarjan's algorithm with a stack of its own: ways may be long.
pub fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let mut order = vec![NEW; edges.len()];
    let mut low = vec![0; edges.len()];
    let mut is_done = vec![false; edges.len()];
    let mut open = Vec::new();
    let mut found = Vec::new();
    let mut count = 0;
    for start in 0..edges.len() {
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.pop() {
            if next == 0 {
                if order[node] != NEW {
                    continue;
                }
                (order[node], low[node]) = (count, count);
                count += 1;
                open.push(node);
            }
            if let Some(&target) = edges[node].get(next) {
                path.push((node, next + 1));
                path.push((target, 0));
                continue;
            }
            for &target in edges[node].iter().filter(|t| !is_done[**t]) {
                low[node] = low[node].min(low[target]);
            }
            if low[node] == order[node] {
                let first = open.iter().rposition(|n| *n == node).unwrap_or(0);
                let component = open.split_off(first);
                component.iter().for_each(|n| is_done[*n] = true);
                found.push(component);
            }
        }
    }
    found
}
