# Has minitest report as the other parts of `make test` do: a line for each test, and what went wrong.

module Minitest
  class LineReporter < AbstractReporter
    def initialize
      super
      @failed = false
    end

    def record(result)
      puts "#{"not " unless result.passed?}ok ruby #{result.name.delete_prefix("test_")}"
      puts result.failures.map(&:to_s) unless result.passed?
      @failed ||= !result.passed?
    end

    def passed?
      !@failed
    end
  end

  def self.plugin_lines_init(_options)
    self.reporter.reporters.replace([LineReporter.new])
  end

  self.extensions << "lines"
end
